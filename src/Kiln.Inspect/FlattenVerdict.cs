namespace Kiln.Inspect;

/// <summary>
/// Whether the owners and modes of an image's files can be flattened to those of one user, and the measures behind the
/// answer (build-extension, "Hints vocabulary").
/// </summary>
public sealed record FlattenVerdict
{
    public const string Allow = "allow";
    public const string Caution = "caution";
    public const string Required = "required";
    private const int MaxReasons = 20;
    private const int MaxIds = 100;

    public required string Ownership { get; init; }
    public required string Mode { get; init; }

    /// <summary>Distinct user ids, sorted, at most 100.</summary>
    public required IReadOnlyList<int> Owners { get; init; }
    public required IReadOnlyList<int> Groups { get; init; }
    public required int SetIdFiles { get; init; }
    public required int CapabilityFiles { get; init; }

    /// <summary>Bytes of all regular files, each hard-linked one once.</summary>
    public required long Bytes { get; init; }

    /// <summary>Inodes: all entries but further names of one file.</summary>
    public required long Files { get; init; }

    /// <summary>What asks for caution, at most 20 sentences.</summary>
    public required IReadOnlyList<string> Reasons { get; init; }

    /// <summary>Judges an image.</summary>
    /// <param name="user">The <c>User</c> of its config, or null.</param>
    /// <param name="singleId">
    /// True where it was built without real ids (every change of owner was pretended): the owners then mean nothing.
    /// </param>
    public static FlattenVerdict Of(FlattenedImage image, string? user, bool singleId)
    {
        var owners = new SortedSet<int>();
        var groups = new SortedSet<int>();
        var (setId, capabilities, bytes, files) = (0, 0, 0L, 0L);
        var differing = Differing(image);
        setId += differing.Where(d => FlattenRules.IsSetId(d.Link)).DistinctBy(d => d.File).Count(d => !d.IsSetId);
        foreach (var entry in image.Entries)
        {
            if (entry.Kind == LayerEntryKind.HardLink)
            {
                continue;
            }

            owners.Add(entry.Owner);
            groups.Add(entry.Group);
            setId += entry.Kind == LayerEntryKind.File && FlattenRules.IsSetId(entry) ? 1 : 0;
            capabilities += entry.Capability ? 1 : 0;
            bytes += entry.Kind == LayerEntryKind.File ? entry.Size : 0;
            files++;
        }

        var several = owners.Count > 1 || groups.Count > 1;
        var findings = image
            .Entries.Where(e => e.Kind is not (LayerEntryKind.HardLink or LayerEntryKind.SymbolicLink))
            .Concat(differing.Select(d => d.Link))
            .SelectMany(e => FlattenRules.Judge(e, several))
            .Concat(FlattenRules.JudgeUser(user, owners))
            .OrderBy(f => f.Text, StringComparer.Ordinal)
            .ToList();
        return new FlattenVerdict
        {
            Ownership =
                singleId && owners.Count <= 1 ? Required
                : findings.Exists(f => f.AboutOwnership) ? Caution
                : Allow,
            Mode = findings.Exists(f => f.AboutMode) ? Caution : Allow,
            Owners = [.. owners.Take(MaxIds)],
            Groups = [.. groups.Take(MaxIds)],
            SetIdFiles = setId,
            CapabilityFiles = capabilities,
            Bytes = bytes,
            Files = files,
            Reasons = [.. findings.Select(f => f.Text).Take(MaxReasons)],
        };
    }

    // Many who unpack set a file's mode by the headers of its links as well: what these say that it does not itself is judged
    // as if they were files.
    private static List<(LayerEntry Link, string File, bool IsSetId)> Differing(FlattenedImage image) =>
        [
            .. from entry in image.Entries
            where entry.Kind == LayerEntryKind.HardLink
            let file = image.FileOf(entry)
            where file?.Mode != entry.Mode
            select (
                entry with
                {
                    Kind = LayerEntryKind.File,
                },
                file?.Path ?? entry.Path,
                file is not null && FlattenRules.IsSetId(file)
            ),
        ];
}
