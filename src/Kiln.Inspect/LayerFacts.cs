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

    /// <summary>Bytes of memory that the facts of one layer take at most, roughly; those of large images take some 30 million.</summary>
    public const long MaxWeight = 256L << 20;

    /// <summary>Directories that a path may lie in: what is done for each of them must not add up.</summary>
    public const int MaxDepth = 256;

    // Since 1: what ELF files declare. Since 2: what hard links are names of.
    private const int CurrentVersion = 2;

    /// <summary>Of what is kept; what an earlier program has kept lacks what later ones look for.</summary>
    public int Version { get; init; }

    /// <summary>Bytes of the layer's plain tar.</summary>
    public required long TarBytes { get; init; }
    public required IReadOnlyList<LayerEntry> Entries { get; init; }

    /// <summary>Bytes of memory that they take, roughly.</summary>
    [JsonIgnore]
    public long Weight => Entries.Sum(e => e.Weight);

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
        var weight = 0L;
        try
        {
            await using var plain = await LayerStream.OpenAsync(blob, MaxTarBytes, cancel);
            await using var tar = new MeasuredStream(plain);
            var fault = await TarWalk.ReadAsync(
                tar,
                MaxEntries,
                async (entry, path) =>
                {
                    if (path.Length > 0)
                    {
                        var elf = entry.DataStream is { } content
                            ? await programs.ReadAsync(content, entry.Length, cancel)
                            : null;
                        var read = LayerEntry.From(entry, path) with { Elf = elf };
                        weight += read.Weight;
                        entries.Add(read);
                    }

                    return path.AsSpan().Count('/') > MaxDepth
                            ? new TarFault($"a path lies more than {MaxDepth} directories deep", TooLarge: true)
                        : weight > MaxWeight
                            ? new TarFault("its paths, and what its programs declare, are too long", TooLarge: true)
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

    /// <summary>Of a hard link, the file that it is another name of.</summary>
    [JsonPropertyName("l")]
    public string? Target { get; init; }

    /// <summary>Bytes of memory that it takes, roughly.</summary>
    [JsonIgnore]
    public long Weight => 150 + (2L * (Path.Length + (Target?.Length ?? 0))) + (Elf?.Weight ?? 0);

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
            Target =
                entry.EntryType == TarEntryType.HardLink && TarWalk.Clean(entry.LinkName, out var target) is null
                    ? target
                    : null,
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
