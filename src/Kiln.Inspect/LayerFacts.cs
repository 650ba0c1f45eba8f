using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.Inspect.Elf;
using Kiln.Oci;

namespace Kiln.Inspect;

/// <summary>
/// What reading a layer once told, enough to flatten layers and to derive hints: no content, one short row for each
/// entry, and of programs and libraries what they declare. Bounded by <see cref="MaxEntries"/> and <see cref="MaxTarBytes"/>.
/// </summary>
public sealed record LayerFacts
{
    /// <summary>More entries than that in one layer are not measured; large images have some 100,000.</summary>
    public const int MaxEntries = 600_000;

    /// <summary>Bytes of plain tar that are read at most.</summary>
    public const long MaxTarBytes = 1L << 40;

    /// <summary>Characters of all paths of a layer together; large images have some ten million.</summary>
    public const long MaxPathCharacters = 64 << 20;

    // Since 1: what ELF files declare.
    private const int CurrentVersion = 1;

    /// <summary>Of what is kept; what an earlier program has kept lacks what later ones look for.</summary>
    public int Version { get; init; }

    /// <summary>Bytes of the layer's plain tar.</summary>
    public required long TarBytes { get; init; }
    public required IReadOnlyList<LayerEntry> Entries { get; init; }

    /// <summary>Reads a layer blob (a tar, plain or compressed).</summary>
    /// <returns>
    /// The facts, or in the third place why there are none; in the second the digest of the plain tar, wherever it could
    /// be read to its end.
    /// </returns>
    public static async Task<(LayerFacts? Facts, Digest? DiffId, string? Fault)> ReadAsync(
        Stream blob,
        CancellationToken cancel
    )
    {
        var entries = new List<LayerEntry>();
        var programs = new ElfReader();
        var characters = 0L;
        try
        {
            await using var plain = await LayerStream.OpenAsync(blob, MaxTarBytes, cancel);
            await using var tar = new MeasuredStream(plain);
            var fault = await TarWalk.ReadAsync(
                tar,
                MaxEntries,
                async (entry, path) =>
                {
                    characters += path.Length;
                    if (path.Length > 0)
                    {
                        var elf = entry.DataStream is { } content
                            ? await programs.ReadAsync(content, entry.Length, cancel)
                            : null;
                        characters += elf?.Characters ?? 0;
                        entries.Add(LayerEntry.From(entry, path) with { Elf = elf });
                    }

                    return characters > MaxPathCharacters
                        ? new TarFault("the paths are too long", TooLarge: true)
                        : null;
                },
                cancel
            );
            // What follows the end marker, or an entry that cannot be judged, still is a part of the layer.
            await tar.CopyToAsync(Stream.Null, cancel);
            return fault is null
                ? (
                    new LayerFacts
                    {
                        Version = CurrentVersion,
                        TarBytes = tar.Count,
                        Entries = entries,
                    },
                    tar.Digest,
                    null
                )
                : (null, tar.Digest, fault.Message);
        }
        catch (Exception e) when (LayerStream.IsFault(e))
        {
            return (null, null, e.Message);
        }
    }

    /// <summary>The facts as compressed JSON, for keeping.</summary>
    public byte[] Pack()
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            JsonSerializer.Serialize(gzip, this, InspectJson.Default.LayerFacts);
        }

        return packed.ToArray();
    }

    /// <summary>Reads what <see cref="Pack"/> wrote; null where an earlier program did, which looked for less.</summary>
    public static LayerFacts? Unpack(byte[] packed)
    {
        using var gzip = new GZipStream(new MemoryStream(packed), CompressionMode.Decompress);
        var facts = JsonSerializer.Deserialize(gzip, InspectJson.Default.LayerFacts)!;
        return facts.Version < CurrentVersion ? null : facts;
    }
}

/// <summary>What kind of thing a path is.</summary>
public enum LayerEntryKind
{
    File,
    Directory,
    SymbolicLink,

    /// <summary>Another name of a file that was counted already.</summary>
    HardLink,
    Device,
    Fifo,
}

/// <summary>One entry of a layer's tar.</summary>
public sealed record LayerEntry
{
    [JsonPropertyName("p")]
    public required string Path { get; init; }

    [JsonPropertyName("k")]
    public LayerEntryKind Kind { get; init; }

    /// <summary>Permission bits with set-id and sticky.</summary>
    [JsonPropertyName("m")]
    public int Mode { get; init; }

    [JsonPropertyName("u")]
    public int Owner { get; init; }

    [JsonPropertyName("g")]
    public int Group { get; init; }

    /// <summary>Bytes of content.</summary>
    [JsonPropertyName("s")]
    public long Size { get; init; }

    /// <summary>It has a <c>security.capability</c> attribute.</summary>
    [JsonPropertyName("c")]
    public bool Capability { get; init; }

    /// <summary>It has a POSIX access control list.</summary>
    [JsonPropertyName("a")]
    public bool Acl { get; init; }

    /// <summary>What it declares where it is an ELF file.</summary>
    [JsonPropertyName("e")]
    public ElfFacts? Elf { get; init; }

    internal static LayerEntry From(TarEntry entry, string path)
    {
        var attributes = Attributes(entry);
        return new LayerEntry
        {
            Path = path,
            Kind = entry.EntryType switch
            {
                TarEntryType.Directory or TarEntryType.DirectoryList => LayerEntryKind.Directory,
                TarEntryType.SymbolicLink => LayerEntryKind.SymbolicLink,
                TarEntryType.HardLink => LayerEntryKind.HardLink,
                TarEntryType.BlockDevice or TarEntryType.CharacterDevice => LayerEntryKind.Device,
                TarEntryType.Fifo => LayerEntryKind.Fifo,
                _ => LayerEntryKind.File,
            },
            Mode = (int)entry.Mode & 0xfff,
            Owner = entry.Uid,
            Group = entry.Gid,
            Size = entry.EntryType is TarEntryType.SymbolicLink or TarEntryType.HardLink ? 0 : entry.Length,
            Capability = attributes.Keys.Any(k => k.EndsWith("security.capability", StringComparison.Ordinal)),
            Acl = attributes.Keys.Any(k => k.Contains("posix_acl", StringComparison.Ordinal)),
        };
    }

    private static IReadOnlyDictionary<string, string> Attributes(TarEntry entry) =>
#pragma warning disable RS0030 // Reading what others wrote; the ban is about writing.
        entry is PaxTarEntry pax
            ? pax.ExtendedAttributes
            : System.Collections.Frozen.FrozenDictionary<string, string>.Empty;
#pragma warning restore RS0030
}

/// <summary>Counts and hashes what was read through it.</summary>
internal sealed class MeasuredStream(Stream inner) : WrappingStream(inner)
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public long Count { get; private set; }

    /// <summary>The digest of what was read so far.</summary>
    public Digest Digest => Digest.Finish(Digest.Sha256, _hash);

    public override int Read(Span<byte> buffer)
    {
        var count = Inner.Read(buffer);
        Measure(buffer[..count]);
        return count;
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await Inner.ReadAsync(buffer, cancellationToken);
        Measure(buffer.Span[..count]);
        return count;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _hash.Dispose();
        }

        base.Dispose(disposing);
    }

    private void Measure(ReadOnlySpan<byte> bytes)
    {
        Count += bytes.Length;
        _hash.AppendData(bytes);
    }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(LayerFacts))]
internal sealed partial class InspectJson : JsonSerializerContext;
