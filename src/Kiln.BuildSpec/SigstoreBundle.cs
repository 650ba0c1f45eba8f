using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Kiln.BuildSpec;

/// <summary>
/// A statement with its signature, in the form that cosign and other tools of Sigstore read: a bundle, version 0.3, with a
/// DSSE envelope and the hint of a public key. Keys are of ECDSA over P-256.
/// </summary>
public sealed record SigstoreBundle
{
    /// <summary>Media type and artifact type of a bundle.</summary>
    public const string Type = "application/vnd.dev.sigstore.bundle.v0.3+json";

    /// <summary>Annotations by which tools find the right bundle without reading all of them.</summary>
    public const string ContentAnnotation = "dev.sigstore.bundle.content";
    public const string ContentValue = "dsse-envelope";
    public const string PredicateAnnotation = "dev.sigstore.bundle.predicateType";

    public string MediaType { get; init; } = Type;
    public required BundleMaterial VerificationMaterial { get; init; }
    public required DsseEnvelope DsseEnvelope { get; init; }

    /// <summary>Signs a payload.</summary>
    public static SigstoreBundle Sign(ECDsa key, string payloadType, byte[] payload)
    {
        var hint = HintOf(key);
        var signature = key.SignData(
            Encoded(payloadType, payload),
            HashAlgorithmName.SHA256,
            DSASignatureFormat.Rfc3279DerSequence
        );
        return new SigstoreBundle
        {
            VerificationMaterial = new BundleMaterial { PublicKey = new BundleKey { Hint = hint } },
            DsseEnvelope = new DsseEnvelope
            {
                Payload = payload,
                PayloadType = payloadType,
                // Without keyid: what tools call the key is theirs, and a name that they do not know keeps them from trying.
                Signatures = [new DsseSignature { Sig = signature }],
            },
        };
    }

    /// <summary>Reads a bundle.</summary>
    /// <param name="fault">Why it is none, where null is returned.</param>
    public static SigstoreBundle? Read(ReadOnlySpan<byte> bytes, out string? fault)
    {
        try
        {
            var read = JsonSerializer.Deserialize(bytes, BuildJson.Default.SigstoreBundle);
            fault =
                read is null ? "it is empty"
                : read.MediaType != Type ? $"its mediaType is {read.MediaType}"
                : read.DsseEnvelope.PayloadType != ProvenanceStatement.MediaType
                    ? $"its payloadType is {read.DsseEnvelope.PayloadType}"
                : read.DsseEnvelope.Signatures.Contains(null!) ? "one of its signatures is null"
                : null;
            return fault is null ? read : null;
        }
        catch (JsonException e)
        {
            fault = e.Message;
            return null;
        }
    }

    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this, BuildJson.Default.SigstoreBundle);

    /// <summary>Whether a key has signed it.</summary>
    public bool IsSignedBy(ECDsa key)
    {
        var signed = Encoded(DsseEnvelope.PayloadType, DsseEnvelope.Payload);
        return DsseEnvelope.Signatures.Any(s =>
            key.VerifyData(signed, s.Sig, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence)
        );
    }

    /// <summary>How a key is called in bundles: the SHA-256 of its public part, base64.</summary>
    public static string HintOf(ECDsa key) => Convert.ToBase64String(SHA256.HashData(key.ExportSubjectPublicKeyInfo()));

    // What is signed is not the payload alone (DSSE, "Protocol": pre-authentication encoding).
    private static byte[] Encoded(string type, byte[] payload) =>
        [.. Encoding.UTF8.GetBytes($"DSSEv1 {Encoding.UTF8.GetByteCount(type)} {type} {payload.Length} "), .. payload];
}

/// <summary>With which key a bundle is to be verified.</summary>
public sealed record BundleMaterial
{
    /// <summary>Null where it is a certificate, which Kiln neither makes nor reads.</summary>
    public BundleKey? PublicKey { get; init; }
}

/// <summary>A key that whoever verifies has already.</summary>
public sealed record BundleKey
{
    public string? Hint { get; init; }
}

/// <summary>A payload and who has signed it (DSSE).</summary>
public sealed record DsseEnvelope
{
    public required byte[] Payload { get; init; }
    public required string PayloadType { get; init; }
    public required IReadOnlyList<DsseSignature> Signatures { get; init; }
}

/// <summary>One signature.</summary>
public sealed record DsseSignature
{
    public required byte[] Sig { get; init; }
}
