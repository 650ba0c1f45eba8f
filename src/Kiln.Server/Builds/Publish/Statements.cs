using System.Reflection;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
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
        var recipe = new JobRecipe
        {
            Digest = task.RecipeType == RecipeTypes.Image ? task.Recipe.Digest : job.RecipeDigest,
            Type = task.RecipeType,
        };
        return new ProvenanceStatement
        {
            Subject = [ProvenanceFacts.Material($"{own.All[0]}/{name}", product.Digest)],
            Predicate = new ProvenancePredicate
            {
                BuildDefinition = new ProvenanceBuild
                {
                    BuildType = ProvenanceNames.BuildType(task.RecipeType),
                    ExternalParameters = ProvenanceFacts.Parameters(task, recipe, micro),
                    InternalParameters = new ProvenanceCircumstances
                    {
                        Key = execution.Key,
                        Node = execution.Node,
                        Attempt = execution.Attempt,
                        Emulated = execution.Emulated ? true : null,
                        Engine = confinement?.Engine,
                        Confinement = confinement,
                    },
                    ResolvedDependencies = ProvenanceFacts.Materials(
                        task,
                        recipe.Digest,
                        $"{own.Url}/v2/{name}",
                        result.ResolvedDependencies ?? []
                    ),
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
                        StartedOn = execution.Started is { } started ? ProvenanceFacts.Time(started) : null,
                        FinishedOn = ProvenanceFacts.Time(time.Milliseconds()),
                    },
                    Byproducts = log is null ? null : [ProvenanceFacts.Material(ProvenanceNames.Log, log)],
                },
            },
        };
    }

    // Who the node is its credential said; this server's own node has none and needs none.
    private string Builder(ExecutionRow execution) =>
        execution.LeaseLocal
            ? $"{own.Url}/v2/_build/v1/node"
            : $"{own.Url}/v2/_build/v1/nodes/{Uri.EscapeDataString(execution.Node ?? "")}";

    private static BuildConfinement? Json(string? text) =>
        text is null ? null : JsonSerializer.Deserialize(text, BuildJson.Default.BuildConfinement);
}
