using Kiln.BuildSpec.Definitions;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>What a request for a build of a definition must be, beyond <see cref="RequestRules"/>.</summary>
internal static class DefinitionRequestRules
{
    /// <exception cref="OciException">The first broken rule's error.</exception>
    public static void Check(JobRequest request, string text, IReadOnlyList<string> bootstraps)
    {
        if (request.Secrets!.Count > 0)
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                "a definition has no way to name a secret; build from a Dockerfile with RUN --mount=type=secret, or fetch what is secret when the image runs"
            );
        }

        if (DefinitionArguments.Unknown(text, request.Args!.Keys) is { } unknown)
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                $"the definition has no argument '{unknown}': neither {{{{ {unknown} }}}} nor a default in %arguments"
            );
        }

        foreach (var target in request.Targets!)
        {
            var args = DefinitionArguments.For(request.Args!, target.Platform, target.Microarchitecture);
            if (!Definition.TryParse(text, args, out var definition, out var fault))
            {
                throw Invalid($"the definition cannot be read: {fault}");
            }

            CheckStages(definition, request, bootstraps);
        }
    }

    private static void CheckStages(Definition definition, JobRequest request, IReadOnlyList<string> bootstraps)
    {
        var last = definition.StageIndex(request.Target);
        if (last < 0)
        {
            throw Invalid($"the definition has no stage '{request.Target}'");
        }

        foreach (var stage in definition.Needed(last).Select(i => definition.Stages[i]))
        {
            if (!bootstraps.Contains(stage.Agent, StringComparer.Ordinal))
            {
                throw Invalid(
                    $"line {stage.Line}: this registry does not allow 'Bootstrap: {stage.Agent}'; it allows {string.Join(", ", bootstraps)}"
                );
            }

            if (stage.Agent == BootstrapAgents.Debootstrap && request.Network == NetworkModes.None)
            {
                throw Invalid(
                    $"line {stage.Line}: 'Bootstrap: debootstrap' fetches packages, and this build has no network; ask for network isolated"
                );
            }
        }
    }

    private static OciException Invalid(string message) => new(BuildErrors.RecipeInvalid, message);
}
