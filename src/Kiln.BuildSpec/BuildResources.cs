namespace Kiln.BuildSpec;

/// <summary>
/// What one build asks of a node, or what a node has for one build (build-extension, J-1 and N-1). What is not said is not
/// asked for, or is not there.
/// </summary>
public sealed record BuildResources
{
    public int? Cpus { get; init; }
    public long? MemoryBytes { get; init; }

    /// <summary>For all that the build writes.</summary>
    public long? DiskBytes { get; init; }
    public int? Gpus { get; init; }

    /// <summary>All of them under the names that they have in JSON.</summary>
    public IReadOnlyList<(string Name, long? Value)> List() =>
        [("cpus", Cpus), ("memoryBytes", MemoryBytes), ("diskBytes", DiskBytes), ("gpus", Gpus)];

    /// <summary>The first of which more is asked than there is; null where all of it fits.</summary>
    public (string Name, long Asked, long There)? Over(BuildResources there)
    {
        foreach (var (asked, had) in List().Zip(there.List()))
        {
            if (asked.Value > (had.Value ?? 0))
            {
                return (asked.Name, asked.Value.Value, had.Value ?? 0);
            }
        }

        return null;
    }

    /// <summary>Of each the most that any has.</summary>
    public static BuildResources Most(IEnumerable<BuildResources?> all)
    {
        var known = all.OfType<BuildResources>().ToList();
        return new BuildResources
        {
            Cpus = known.Max(r => r.Cpus),
            MemoryBytes = known.Max(r => r.MemoryBytes),
            DiskBytes = known.Max(r => r.DiskBytes),
            Gpus = known.Max(r => r.Gpus),
        };
    }
}
