using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Intake;

/// <summary>A recipe artifact of another registry, as it is kept here while builds need it.</summary>
internal sealed record RecipeCopy(Digest Digest, ManifestInfo Manifest, ManifestPush Push);

/// <summary>
/// The registry in front of which this server stands, as those see it who read recipes: what is there is had when it is
/// needed. Absent where this server is a registry of its own.
/// </summary>
internal interface IRecipesBehind
{
    /// <summary>The artifact that a request names; null where there is none.</summary>
    /// <exception cref="OciException">The registry behind has no answer that can be used.</exception>
    Task<RecipeCopy?> FindAsync(RepositoryName repository, RecipeSource source, CancellationToken cancel);

    /// <summary>Brings a blob into the repository here, unless it is there or has more bytes than it may.</summary>
    /// <param name="maxBytes">Larger ones are left where they are: whoever wants them will refuse them.</param>
    /// <exception cref="OciException">The registry behind has no answer that can be used.</exception>
    Task BringAsync(RepositoryName repository, Descriptor blob, long maxBytes, CancellationToken cancel);

    /// <summary>
    /// Where tags point there, by their names, once it was found that whoever asks now may move them; those that are not
    /// there are left out.
    /// </summary>
    /// <exception cref="OciException">They may not, or the registry behind has no answer that can be used.</exception>
    Task<IReadOnlyDictionary<string, string>> PointingAsync(
        RepositoryName repository,
        IEnumerable<Tag> tags,
        CancellationToken cancel
    );

    /// <summary>Finds out whether whoever asks for a build now may pull from the repositories of its bases.</summary>
    /// <param name="principal">For whom it is remembered.</param>
    Task LearnBasesAsync(string principal, IEnumerable<RepositoryName> bases, CancellationToken cancel);
}
