using System.Globalization;
using System.Reflection;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// Writes how a product was made, from what the registry knows of its execution. Only what is under
/// <c>internalParameters</c> as the engine and its confinement, and which bases there were, is the node's word.
/// </summary>
internal sealed class Statements(Database database, OwnHosts own, TimeProvider time)
{
    private static readonly string ProgramVersion =
        typeof(Statements).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion
        ?? "unknown";

    /// <param name="execution">While its lease is held.</param>
    /// <param name="log">Of the log as it is attached; null where it is not.</param>
    public ProvenanceStatement Of(ExecutionRow execution, LeaseResult result, Descriptor product, Descriptor? log)
    {
        var task = JsonSerializer.Deserialize(execution.Task, BuildJson.Default.LeaseTask)!;
        var (name, job, micro) = database.Read(c =>
        {
            var (id, taskId) = LeaseRow.JobOf(c, execution.Id);
            return (
                Repositories.NameOf(c, execution.Repository),
                JobRow.Find(c, id)!,
                TaskRow.Of(c, id).Find(t => t.Id == taskId)?.Microarchitecture
            );
        });
        var confinement = result.Confinement ?? Json(execution.Confinement);
        return new ProvenanceStatement
        {
            Subject = [Material($"{own.All[0]}/{name}", product.Digest)],
            Predicate = new ProvenancePredicate
            {
                BuildDefinition = new ProvenanceBuild
                {
                    BuildType = ProvenanceNames.BuildType(task.RecipeType),
                    ExternalParameters = Parameters(task, job, micro),
                    InternalParameters = new ProvenanceCircumstances
                    {
                        Key = execution.Key,
                        Node = execution.Node,
                        Attempt = execution.Attempt,
                        Engine = confinement?.Engine,
                        Confinement = confinement,
                    },
                    ResolvedDependencies = Materials(task, job, name, result.ResolvedDependencies ?? []),
                },
                RunDetails = new ProvenanceRun
                {
                    Builder = new ProvenanceBuilder
                    {
                        Id = Builder(execution),
                        Version = new Dictionary<string, string> { ["kiln"] = ProgramVersion },
                    },
                    Metadata = new ProvenanceTimes
                    {
                        InvocationId = own.Url + Ids.JobPath(name, job.Id),
                        StartedOn = execution.Started is { } started ? Time(started) : null,
                        FinishedOn = Time(time.Milliseconds()),
                    },
                    Byproducts = log is null ? null : [Material(ProvenanceNames.Log, log)],
                },
            },
        };
    }

    /// <summary>A time as statements have it.</summary>
    /// <param name="milliseconds">Since 1970.</param>
    public static string Time(long milliseconds) =>
        DateTimeOffset
            .FromUnixTimeMilliseconds(milliseconds)
            .UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    // Who the node is its credential said; this server's own node has none and needs none.
    private string Builder(ExecutionRow execution) =>
        execution.LeaseLocal
            ? $"{own.Url}/v2/_build/v1/node"
            : $"{own.Url}/v2/_build/v1/nodes/{Uri.EscapeDataString(execution.Node ?? "")}";

    private static ProvenanceParameters Parameters(LeaseTask task, JobRow job, string? microarchitecture) =>
        new()
        {
            Recipe = new JobRecipe { Digest = job.RecipeDigest, Type = task.RecipeType },
            Platform = task.Platform.ToString(),
            Microarchitecture = microarchitecture,
            Format = task.Format,
            Args = Sorted(task.Args.Where(a => !task.SecretIds.Contains(a.Key, StringComparer.Ordinal))),
            Labels = Sorted(task.Labels),
            Target = task.Target,
            Network = task.Network,
            Reproducible =
                task.SourceDateEpoch is null && task.PinnedBases is null
                    ? null
                    : new ReproducibleOptions { SourceDateEpoch = task.SourceDateEpoch, Bases = task.PinnedBases },
            TimeoutSeconds = task.TimeoutSeconds,
            StepCache = task.UseStepCache,
            UsesSecrets = task.SecretIds.Count > 0,
        };

    private List<ProvenanceMaterial> Materials(
        LeaseTask task,
        JobRow job,
        RepositoryName repository,
        IReadOnlyList<ResolvedDependency> bases
    ) =>
        [
            Material(ProvenanceNames.Recipe, job.RecipeDigest) with
            {
                Uri = $"{own.Url}/v2/{repository}/manifests/{job.RecipeDigest}",
                MediaType = MediaTypes.OciManifest,
            },
            Blob(ProvenanceNames.RecipeLayer, task.Recipe, repository),
            .. task.Contexts.Select(c =>
                Blob(ProvenanceNames.Context, c.Blob, repository) with
                {
                    Annotations =
                        c.Strip == 0
                            ? null
                            : new Dictionary<string, string>
                            {
                                [ProvenanceNames.Strip] = c.Strip.ToString(CultureInfo.InvariantCulture),
                            },
                }
            ),
            .. bases.Select(b => Material(ProvenanceNames.Base, b.Digest) with { Uri = b.Uri }),
        ];

    private ProvenanceMaterial Blob(string name, Descriptor blob, RepositoryName repository) =>
        Material(name, blob) with
        {
            Uri = $"{own.Url}/v2/{repository}/blobs/{blob.Digest}",
        };

    private static ProvenanceMaterial Material(string name, Descriptor blob) =>
        Material(name, blob.Digest) with
        {
            MediaType = blob.MediaType,
        };

    private static ProvenanceMaterial Material(string name, Digest digest) =>
        new() { Name = name, Digest = ProvenanceMaterial.DigestOf(digest) };

    private static SortedDictionary<string, string> Sorted(IEnumerable<KeyValuePair<string, string>> pairs)
    {
        var sorted = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in pairs)
        {
            sorted[key] = value;
        }

        return sorted;
    }

    private static BuildConfinement? Json(string? text) =>
        text is null ? null : JsonSerializer.Deserialize(text, BuildJson.Default.BuildConfinement);
}
