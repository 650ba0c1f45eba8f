using Kiln.BuildSpec;
using Kiln.BuildSpec.Definitions;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.Server.Builds.Intake;

/// <summary>Whether somebody, by the name that stands in a job, may pull from a repository now.</summary>
internal delegate bool RequesterMayPull(string principal, RepositoryName repository);

/// <summary>
/// A build of somebody else is an answer only for those who may read the bases that it stands on (build-extension,
/// decision 10): whoever may not has to get a build of their own, which then fails for that reason.
/// </summary>
internal sealed class BaseRights(RequesterMayPull mayPull, BaseNames names)
{
    /// <summary>Whether the requester may pull every base of a recipe that is in this registry, copies included.</summary>
    public bool MayUseAll(ResolvedRecipe recipe, JobRequest request, string principal) =>
        Of(recipe, request).All(r => mayPull(principal, r));

    /// <summary>The repositories of this registry, copies included, that have bases of a recipe.</summary>
    public IReadOnlyList<RepositoryName> Of(ResolvedRecipe recipe, JobRequest request) =>
        [.. request.Targets!.SelectMany(target => Repositories(recipe, request, target)).Distinct()];

    private List<RepositoryName> Repositories(ResolvedRecipe recipe, JobRequest request, BuildTarget target)
    {
        try
        {
            return [.. Bases(recipe, request, target).Select(r => names.Here(r.Written)).OfType<RepositoryName>()];
        }
        catch (FormatException)
        {
            // The node will say so; nothing was ever built from it.
            return [];
        }
    }

    private static IReadOnlyList<BaseReference> Bases(ResolvedRecipe recipe, JobRequest request, BuildTarget target)
    {
        if (recipe.Type == RecipeTypes.Singularity)
        {
            var definition = Definition.Parse(
                recipe.Text,
                DefinitionArguments.For(request.Args!, target.Platform, target.Microarchitecture)
            );
            return definition.Bases(definition.StageIndex(request.Target), target.Platform);
        }

        return Dockerfile.TryParse(recipe.Text, out var file, out _)
            ? new DockerfileBases(
                file,
                request.Args!,
                target.Platform,
                target.Platform,
                file.StageIndex(request.Target)
            ).References()
            : [];
    }
}
