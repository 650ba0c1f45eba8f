using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Kiln.Oci;

/// <summary>Why a text is not a usable digest.</summary>
public enum DigestFault
{
    None,

    /// <summary>It does not follow the grammar <c>algorithm ":" encoded</c>, or the encoded part has the wrong length or letters.</summary>
    Malformed,

    /// <summary>The grammar holds, but Kiln does not know the algorithm.</summary>
    UnsupportedAlgorithm,
}

/// <summary>
/// A content digest, <c>sha256:…</c> or <c>sha512:…</c>, in lower case
/// (image-spec, descriptor.md, "Digests"). The only parser of digests in Kiln.
/// </summary>
[JsonConverter(typeof(DigestJsonConverter))]
public sealed record Digest
{
    public const string Sha256 = "sha256";
    public const string Sha512 = "sha512";

    /// <summary>The digest of the two bytes <c>{}</c>, the empty JSON descriptor of image-spec 1.1.</summary>
    public static readonly Digest EmptyJson = new(
        Sha256,
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );

    private Digest(string algorithm, string encoded)
    {
        Algorithm = algorithm;
        Encoded = encoded;
    }

    /// <summary><c>sha256</c> or <c>sha512</c>.</summary>
    public string Algorithm { get; }

    /// <summary>The hash in lower-case hexadecimal.</summary>
    public string Encoded { get; }

    public override string ToString() => $"{Algorithm}:{Encoded}";

    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out Digest? digest) =>
        Parse(text, out digest) == DigestFault.None;

    /// <summary>Parses <paramref name="text"/> and tells a malformed digest from an unsupported algorithm.</summary>
    public static DigestFault Parse(string? text, out Digest? digest)
    {
        digest = null;
        var colon = text?.IndexOf(':', StringComparison.Ordinal) ?? -1;
        if (text is null || colon <= 0 || colon == text.Length - 1)
        {
            return DigestFault.Malformed;
        }

        var algorithm = text[..colon];
        var encoded = text[(colon + 1)..];
        if (!IsSupported(algorithm))
        {
            return FollowsGrammar(algorithm, encoded) ? DigestFault.UnsupportedAlgorithm : DigestFault.Malformed;
        }

        if (encoded.Length != EncodedLength(algorithm) || !encoded.All(IsLowerHex))
        {
            return DigestFault.Malformed;
        }

        digest = new Digest(algorithm, encoded);
        return DigestFault.None;
    }

    /// <exception cref="FormatException">The text is not a digest that Kiln supports.</exception>
    public static Digest Parse(string text) =>
        TryParse(text, out var digest)
            ? digest
            : throw new FormatException($"'{text}' is not a sha256 or sha512 digest");

    public static bool IsSupported(string algorithm) => algorithm is Sha256 or Sha512;

    /// <summary>Starts a hash of the given algorithm; finish it with <see cref="Finish"/>.</summary>
    public static IncrementalHash Start(string algorithm) =>
        IncrementalHash.CreateHash(
            algorithm switch
            {
                Sha256 => HashAlgorithmName.SHA256,
                Sha512 => HashAlgorithmName.SHA512,
                _ => throw new ArgumentException($"unsupported digest algorithm '{algorithm}'", nameof(algorithm)),
            }
        );

    /// <summary>The digest of what was appended to <paramref name="hash"/> so far. The hash can go on.</summary>
    public static Digest Finish(string algorithm, IncrementalHash hash) =>
        new(algorithm, Convert.ToHexStringLower(hash.GetCurrentHash()));

    public static Digest Of(ReadOnlySpan<byte> bytes, string algorithm = Sha256) =>
        new(algorithm, Convert.ToHexStringLower(algorithm == Sha512 ? SHA512.HashData(bytes) : SHA256.HashData(bytes)));

    public static async Task<Digest> OfAsync(Stream stream, string algorithm, CancellationToken cancel) =>
        new(
            algorithm,
            Convert.ToHexStringLower(
                algorithm == Sha512
                    ? await SHA512.HashDataAsync(stream, cancel)
                    : await SHA256.HashDataAsync(stream, cancel)
            )
        );

    private static int EncodedLength(string algorithm) => algorithm == Sha512 ? 128 : 64;

    private static bool IsLowerHex(char c) => c is (>= '0' and <= '9') or (>= 'a' and <= 'f');

    // digest ::= algorithm ":" encoded; algorithm-component ::= [a-z0-9]+, separators [+._-]; encoded ::= [a-zA-Z0-9=_-]+
    private static bool FollowsGrammar(string algorithm, string encoded)
    {
        var separatorAllowed = false;
        foreach (var c in algorithm)
        {
            var isSeparator = c is '+' or '.' or '_' or '-';
            if (isSeparator ? !separatorAllowed : !(char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c)))
            {
                return false;
            }

            separatorAllowed = !isSeparator;
        }

        return separatorAllowed && encoded.All(c => char.IsAsciiLetterOrDigit(c) || c is '=' or '_' or '-');
    }
}

public sealed class DigestJsonConverter : JsonConverter<Digest>
{
    public override Digest Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        var text = reader.GetString();
        return Digest.TryParse(text, out var digest)
            ? digest
            : throw new JsonException($"'{text}' is not a sha256 or sha512 digest");
    }

    public override void Write(Utf8JsonWriter writer, Digest value, JsonSerializerOptions options) =>
        writer.WriteStringValue(value.ToString());
}
