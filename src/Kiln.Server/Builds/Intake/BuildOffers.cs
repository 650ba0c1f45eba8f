using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;

namespace Kiln.Server.Builds.Intake;

/// <summary>What there is to build a request with.</summary>
internal sealed class BuildOffers(BuildOptions options, Builders builders, IProductsBehind? behind = null)
{
    /// <summary>What nobody here could build is refused before anything is read.</summary>
    /// <exception cref="OciException"><c>BUILD_DISABLED</c>.</exception>
    public async Task<BuildOffer> RequireAsync(string requester, CancellationToken cancel)
    {
        var abilities = await builders.OfAsync(requester, cancel);
        var shared = await builders.OfAsync(requester: null, cancel);
        return abilities.Platforms.Count > 0
            ? new BuildOffer
            {
                Platforms = abilities.Platforms,
                EmulatedPlatforms = abilities.EmulatedPlatforms,
                AllowsEmulation = options.AllowEmulation,
                Microarchitectures = abilities.Microarchitectures,
                Nodes = builders.Each(requester),
                RecipeTypes = abilities.RecipeTypes,
                // A registry behind is handed images and nothing else.
                Outputs = behind is null ? abilities.Outputs : [BuildOutput.Oci],
                Bootstraps = options.Bootstraps,
                Networks = abilities.Networks,
                Engines = abilities.Engines,
                Resources = abilities.Resources,
                DefaultTimeoutSeconds = options.DefaultTimeoutSeconds,
                MaxTimeoutSeconds = options.MaxTimeoutSeconds,
                MaxQueueSeconds = options.MaxQueueSeconds,
                SharedPlatforms = [.. shared.Platforms, .. shared.EmulatedPlatforms],
                SharedOutputs = shared.Outputs,
            }
            : throw new OciException(
                BuildErrors.Disabled,
                $"this registry builds nothing now: {abilities.Unavailable ?? "no build node is there"}"
            );
    }
}
