using System.Text.Json;
using Kiln.Oci;

namespace Kiln.BuildSpec.Products;

/// <summary>
/// What an image is good for, with the evidence (build-extension, P-7): measured from its layers, and the same for the
/// same image, whoever measures. Lists are in the order of their paths, names or sizes, and cut to
/// <see cref="MaxPaths"/>; the counts beside them are not.
/// </summary>
public sealed record HintsDocument
{
    /// <summary>Paths and other examples of one kind.</summary>
    public const int MaxPaths = 50;

    /// <summary>Characters of one path; what is longer ends in an ellipsis.</summary>
    public const int MaxPathCharacters = 512;

    /// <summary>Bytes that nobody's document has.</summary>
    public const int MaxBytes = 8 << 20;

    /// <summary>The image manifest.</summary>
    public required Descriptor Subject { get; init; }

    /// <summary><c>os/architecture[/variant]</c> of its config, or as it was built for.</summary>
    public required string Platform { get; init; }
    public required HintedFlattening Flatten { get; init; }

    /// <summary>Distinct user ids, sorted, at most 100.</summary>
    public required IReadOnlyList<int> Owners { get; init; }
    public required IReadOnlyList<int> Groups { get; init; }
    public required HintedFiles Files { get; init; }

    /// <summary>Lowest first.</summary>
    public required IReadOnlyList<HintedLayer> Layers { get; init; }

    /// <summary>The largest, at most 20; one whose files are nearly all in one directory below is left out for that.</summary>
    public required IReadOnlyList<HintedDirectory> Directories { get; init; }

    /// <summary>Absent where the image has no ELF file.</summary>
    public HintedElf? Elf { get; init; }
    public IReadOnlyList<HintedLibrary>? Mpi { get; init; }
    public IReadOnlyList<HintedLibrary>? Gpu { get; init; }
    public IReadOnlyList<HintedLibrary>? Communication { get; init; }

    /// <summary>As they stand, or would, on the image's entry in an index (P-4).</summary>
    public required IReadOnlyDictionary<string, string> Annotations { get; init; }

    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this, BuildJson.Default.HintsDocument);

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <param name="fault">Why it is none, as a sentence.</param>
    public static HintsDocument? Read(ReadOnlySpan<byte> bytes, out string? fault)
    {
        try
        {
            var document = JsonSerializer.Deserialize(bytes, BuildJson.Default.HintsDocument);
            fault = document is null ? "it is null" : null;
            return document;
        }
        catch (JsonException e)
        {
            fault = $"it is no document of hints: {e.Message}";
            return null;
        }
    }
}

/// <summary>Whether owners and modes can be flattened to those of one user (P-5).</summary>
/// <param name="Ownership"><c>required</c>, <c>allow</c> or <c>caution</c>.</param>
/// <param name="Mode"><c>allow</c> or <c>caution</c>.</param>
public sealed record HintedFlattening(string Ownership, string Mode)
{
    /// <summary>Why it is <c>caution</c>: paths and what is special about them, at most 20.</summary>
    public IReadOnlyList<string>? Reasons { get; init; }
}

/// <summary>What the files of the flattened image are, a distribution's own included.</summary>
/// <param name="Bytes">Of all regular files, each hard-linked one once.</param>
/// <param name="Count">Inodes.</param>
public sealed record HintedFiles(long Bytes, long Count)
{
    /// <summary>Files with a set-user-ID or set-group-ID bit.</summary>
    public HintedPaths? SetId { get; init; }

    /// <summary>Files with a <c>security.capability</c> attribute.</summary>
    public HintedPaths? Capabilities { get; init; }

    /// <summary>Device nodes, which unpacking without root drops.</summary>
    public HintedPaths? Devices { get; init; }

    /// <summary>Files and directories that others than owner and group may not read.</summary>
    public HintedPaths? Unreadable { get; init; }

    /// <summary>Files that everybody may write, and directories that everybody may without the sticky bit.</summary>
    public HintedPaths? Writable { get; init; }
}

/// <summary>Entries of one kind.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="Entries">The first of them.</param>
public sealed record HintedPaths(long Count, IReadOnlyList<HintedPath> Entries);

/// <summary>One entry of the image.</summary>
/// <param name="Mode">Four octal digits.</param>
public sealed record HintedPath(string Path, string Mode, int Owner, int Group);

/// <summary>A layer as it was read.</summary>
/// <param name="Size">Bytes of the blob.</param>
/// <param name="UncompressedBytes">Bytes of its tar.</param>
/// <param name="Entries">Of the tar.</param>
public sealed record HintedLayer(Digest Digest, long Size, long UncompressedBytes, int Entries);

/// <summary>A directory with all that is below it.</summary>
public sealed record HintedDirectory(string Path, long Bytes, long Files);

/// <summary>What the image's ELF files declare (P-10).</summary>
/// <param name="Files">How many there are.</param>
public sealed record HintedElf(long Files)
{
    /// <summary>For which machines programs and libraries are, the most frequent first.</summary>
    public required IReadOnlyList<HintedMachine> Machines { get; init; }

    /// <summary>The highest psABI level that a file declares as needed, in archspec's words: <c>x86_64_v3</c>.</summary>
    public string? Level { get; init; }

    /// <summary>Which files declare it.</summary>
    public HintedUsers? LevelNeededBy { get; init; }

    /// <summary>Levels for which there are libraries beside the ordinary ones; the loader takes what fits.</summary>
    public IReadOnlyList<string>? Variants { get; init; }

    /// <summary>The C libraries that programs are linked with: <c>glibc</c>, <c>musl</c>.</summary>
    public IReadOnlyList<string>? Libc { get; init; }

    /// <summary>The version of glibc in the image.</summary>
    public string? Glibc { get; init; }

    /// <summary>The version that it has to have at least.</summary>
    public string? GlibcNeeded { get; init; }
    public HintedUsers? GlibcNeededBy { get; init; }

    /// <summary>Programs for which nothing has to be loaded.</summary>
    public long Static { get; init; }

    /// <summary>Files that are broken, or whose names stand where they were not read.</summary>
    public HintedUsers? Unread { get; init; }
}

/// <param name="Name">As <c>uname -m</c> has it.</param>
/// <param name="Bits">32 or 64.</param>
/// <param name="Files">Programs and libraries.</param>
public sealed record HintedMachine(string Name, int Bits, long Files)
{
    /// <summary>The calling convention, where headers tell.</summary>
    public string? Abi { get; init; }
}

/// <summary>Files that have something in common.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="Paths">The first of them.</param>
public sealed record HintedUsers(long Count, IReadOnlyList<string> Paths);

/// <summary>A library that is in the image, or that something in it needs.</summary>
/// <param name="Name">Under which it is needed: <c>libmpi.so.40</c>.</param>
/// <param name="Family">As in the annotations.</param>
public sealed record HintedLibrary(string Name, string Family)
{
    /// <summary>Which MPI it is, where that can be told.</summary>
    public string? Implementation { get; init; }

    /// <summary>Where it is in the image; absent where it is not, and has to come from the host.</summary>
    public HintedUsers? Provided { get; init; }

    /// <summary>What needs it.</summary>
    public HintedUsers? NeededBy { get; init; }
}
