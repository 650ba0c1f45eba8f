namespace Kiln.Server;

/// <summary>What <c>kiln fsck</c> was told.</summary>
public sealed record CheckOptions
{
    /// <summary>Mend what can be mended.</summary>
    public bool Repair { get; init; }

    /// <summary>Compare blobs' sizes only; their digests are not computed.</summary>
    public bool Quick { get; init; }
}

/// <summary>Something that is not as it should be.</summary>
/// <param name="Kind">A word for machines, for example <c>blob-corrupt</c>.</param>
/// <param name="Subject">What it is about: a digest, a repository and tag, a file.</param>
/// <param name="Meaning">What is wrong, and what follows from it.</param>
/// <param name="Remedy">What a repair does, or did, about it; or what the operator can do.</param>
public sealed record CheckFinding(string Kind, string Subject, string Meaning, string Remedy)
{
    /// <summary>Nothing is lost by it, and it needs no repair.</summary>
    public bool IsNote { get; init; }

    /// <summary>A repair can mend it.</summary>
    public bool CanBeMended { get; init; }

    /// <summary>It is mended.</summary>
    public bool IsMended { get; init; }
}

/// <summary>What was looked at, and what came of it.</summary>
/// <param name="Left">Findings, notes aside, that are not mended.</param>
public sealed record CheckSummary(long Blobs, long Bytes, long Manifests, long Tags, int Mended, int Left, int Notes);

/// <summary>What a new database was made of.</summary>
/// <param name="Lost">What could not be made anew, in sentences.</param>
/// <param name="Aside">Where the old database is now; null where there was none.</param>
public sealed record RebuildSummary(
    long Repositories,
    long Manifests,
    long Tags,
    IReadOnlyList<string> Lost,
    IReadOnlyList<string> Faults,
    string? Aside
)
{
    /// <summary>Where the journal is now that it was made of; null where it stays, since nothing was lost.</summary>
    public string? JournalAside { get; init; }
}
