using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Front;

namespace Kiln.Server.Http;

/// <summary>What this registry builds: bld-1 of the build extension.</summary>
internal sealed class InfoEndpoints(
    Builders builders,
    TriggerPolicy triggers,
    SigningKey signing,
    BuildOptions options,
    RegistryBehind? behind = null
)
{
    public void Map(V2Router router) =>
        router.Map("GET", "_build/v1/info", Need.Login, Get).Map("GET", "{name}/_build/v1/info", Need.AnyRight, Get);

    private async Task Get(V2Context context)
    {
        var abilities = await builders.OfAsync(context.Principal.Name, context.Cancel);
        var emulated = abilities.EmulatedPlatforms.Except(abilities.Platforms).ToList();
        IReadOnlyList<string> outputs = behind is null ? abilities.Outputs : [BuildOutput.Oci];
        var info = new BuildInfo
        {
            Categories =
            [
                "discover",
                "request",
                "trigger",
                .. behind is null ? new[] { "node", "hooks" } : [],
                .. options.PullBuild == PullBuilds.Off ? [] : new[] { "pull-build" },
            ],
            Recipes = [.. abilities.RecipeTypes.Select(Recipe)],
            Platforms = [.. abilities.Platforms.Concat(emulated).Select(p => p.ToString())],
            EmulatedPlatforms = emulated.Count == 0 ? null : [.. emulated.Select(p => p.ToString())],
            Microarchitectures = abilities.Microarchitectures.Count == 0 ? null : abilities.Microarchitectures,
            Outputs = abilities.Platforms.Count == 0 ? [] : [.. outputs.Where(o => o != OutputFormats.SingleId)],
            Flatten = outputs.Contains(OutputFormats.SingleId, StringComparer.Ordinal) ? true : null,
            Trigger = new BuildInfoTrigger(
                abilities.Platforms.Count == 0 ? "off" : Word(triggers(context.Repository?.Value ?? ""))
            ),
            Engines = abilities.Engines,
            Roots = abilities.Roots.Count == 0 ? null : abilities.Roots,
            Networks = abilities.Networks,
            Nodes = MayBuild(context) ? Nodes(context) : null,
            Unavailable = abilities.Platforms.Count == 0 ? abilities.Unavailable ?? "no build node is there" : null,
            PullBuild = new BuildInfoPull(options.PullBuild != PullBuilds.Off, options.PullHoldSeconds),
            Provenance = new BuildInfoProvenance
            {
                ArtifactTypes = signing.PublicKey is null
                    ? [ProvenanceStatement.MediaType]
                    : [ProvenanceStatement.MediaType, SigstoreBundle.Type],
                PublicKey = signing.PublicKey,
            },
            Behind = behind?.Host,
            Lease = Leases,
            Limits = new BuildInfoLimits
            {
                MaxWaitSeconds = V2Requests.MaxWaitSeconds,
                MaxJobSeconds = options.MaxTimeoutSeconds,
                MaxQueueSeconds = options.MaxQueueSeconds,
                MaxContextBytes = options.MaxContextBytes,
                MaxInlineRecipeBytes = options.MaxRecipeBytes,
                MaxLogBytes = options.MaxLogBytes,
                MaxCpus = abilities.Resources.Cpus,
                MaxMemoryBytes = abilities.Resources.MemoryBytes,
                MaxDiskBytes = abilities.Resources.DiskBytes,
                MaxGpus = abilities.Resources.Gpus,
            },
        };
        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(info, BuildJson.Default.BuildInfo),
            context.Accepts(BuildMediaTypes.Info)
        );
    }

    // What machines there are, and what runs on them, is nothing for everybody who may pull.
    private static bool MayBuild(V2Context context) =>
        context.Repository is { } repository
            ? context.Caller.May(repository, Rights.Build)
            : !context.Caller.IsAnonymous || context.Caller.Policy.MayAnything(context.Caller.Principal);

    private List<BuildInfoNode> Nodes(V2Context context) =>
        [
            .. builders
                .Each(context.Principal.Name)
                .Select(node => node.Claim)
                .OfType<LeaseClaim>()
                .Select(BuildInfoNode.Of),
        ];

    private BuildInfoLease? Leases =>
        behind is not null
            ? null
            : new BuildInfoLease
            {
                DefaultSeconds = options.LeaseSeconds,
                MaxSeconds = Claims.MaxSeconds(options),
                MaxAttempts = options.MaxAttempts,
            };

    private static string Word(PushTriggers trigger) =>
        trigger switch
        {
            PushTriggers.Off => "off",
            PushTriggers.OptIn => "opt-in",
            _ => "on",
        };

    private static BuildInfoRecipe Recipe(string type) =>
        new(
            type,
            type == RecipeTypes.Dockerfile
                ? [BuildMediaTypes.Dockerfile, BuildMediaTypes.TextDockerfile]
                : [BuildMediaTypes.Singularity]
        );
}
