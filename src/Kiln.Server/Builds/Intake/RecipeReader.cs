using System.Text;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Intake;

/// <summary>A recipe of a request.</summary>
internal sealed record ResolvedRecipe : RecipeContent
{
    /// <summary>What is to be stored for it once the request is accepted; null where it is in the repository.</summary>
    public InlineRecipe? Inline { get; init; }

    /// <summary>The artifact, where it is in a registry behind: it is kept here while the request's builds need it.</summary>
    public ManifestPush? Copy { get; init; }
}

/// <summary>Reads recipe artifacts out of their repositories.</summary>
internal sealed class RecipeReader(
    Manifests manifests,
    Tags tags,
    Blobs blobs,
    BuildOptions options,
    IRecipesBehind? behind = null
)
{
    /// <summary>Reads the artifact that a request names.</summary>
    /// <exception cref="OciException">It is not there, or no recipe.</exception>
    public async Task<ResolvedRecipe> ReadAsync(
        RepositoryName repository,
        RecipeSource source,
        CancellationToken cancel
    )
    {
        if (behind is not null)
        {
            return await ReadBehindAsync(behind, repository, source, cancel);
        }

        var stored =
            source.Digest is { } digest ? manifests.Get(repository, digest)
            : Tag.TryParse(source.Tag, out var tag) ? manifests.Get(repository, tag)
            : throw new OciException(
                BuildErrors.RequestInvalid,
                $"'{source.Tag}' is not a tag; recipe is a digest, a tag, or a mediaType with data"
            );
        if (stored is null)
        {
            throw Unknown(repository, source);
        }

        var manifest = ManifestReader.Read(stored.Content, stored.MediaType, out _)!;
        string[] named = source.Tag is null ? [] : [source.Tag];
        var own = tags.Of(repository, stored.Digest).Concat(named).Distinct().ToList();
        return await ReadAsync(repository, stored.Digest, manifest, own, named, cancel);
    }

    private async Task<ResolvedRecipe> ReadBehindAsync(
        IRecipesBehind registry,
        RepositoryName repository,
        RecipeSource source,
        CancellationToken cancel
    )
    {
        var copy = await registry.FindAsync(repository, source, cancel) ?? throw Unknown(repository, source);
        string[] named = source.Tag is null ? [] : [source.Tag];
        return await ReadAsync(repository, copy.Digest, copy.Manifest, named, named, cancel) with { Copy = copy.Push };
    }

    private static OciException Unknown(RepositoryName repository, RecipeSource source) =>
        new(
            BuildErrors.RecipeUnknown,
            $"{repository} has no recipe {source.Digest?.ToString() ?? source.Tag}; push it first"
        );

    /// <summary>Reads an artifact whose manifest is at hand.</summary>
    /// <param name="own">Tags that point at it.</param>
    /// <param name="implying">Those of them that say what the product is called.</param>
    /// <exception cref="OciException">It is no recipe, or not whole.</exception>
    public async Task<ResolvedRecipe> ReadAsync(
        RepositoryName repository,
        Digest digest,
        ManifestInfo manifest,
        IReadOnlyList<string> own,
        IReadOnlyList<string> implying,
        CancellationToken cancel
    )
    {
        if (!RecipeArtifact.Is(manifest))
        {
            throw new OciException(
                BuildErrors.RecipeInvalid,
                $"{digest} is no recipe: its artifact type is {manifest.EffectiveArtifactType ?? "not set"}, not {BuildMediaTypes.Recipe}"
            );
        }

        var artifact = RecipeArtifact.Read(manifest);
        var text = await ReadBlobAsync(repository, artifact.Recipe, options.MaxRecipeBytes, cancel);
        return new ResolvedRecipe
        {
            Artifact = digest,
            Type = artifact.RecipeType,
            Blob = artifact.Recipe,
            Text = Encoding.UTF8.GetString(text),
            Contexts = artifact.Contexts,
            Annotations = RecipeDefaults.FromAnnotations(manifest.Annotations),
            Config = await ReadConfigAsync(repository, manifest.Config!, cancel),
            OwnTags = own,
            ImpliedTags = RecipeContent.Implied(implying),
        };
    }

    private async Task<JobRequest> ReadConfigAsync(
        RepositoryName repository,
        Descriptor config,
        CancellationToken cancel
    ) =>
        config.MediaType == BuildMediaTypes.RecipeConfig
            ? RecipeContent.ReadConfig(await ReadBlobAsync(repository, config, RecipeContent.MaxConfigBytes, cancel))
            : new JobRequest();

    private async Task<byte[]> ReadBlobAsync(
        RepositoryName repository,
        Descriptor descriptor,
        int maxBytes,
        CancellationToken cancel
    )
    {
        if (behind is not null)
        {
            await behind.BringAsync(repository, descriptor, maxBytes, cancel);
        }

        var size = blobs.Size(repository, descriptor.Digest) ?? (descriptor.Size > maxBytes ? descriptor.Size : null);
        if (size > maxBytes)
        {
            throw new OciException(
                BuildErrors.RecipeInvalid,
                $"the blob {descriptor.Digest} of the recipe has {size} bytes; {maxBytes} is the limit"
            );
        }

        await using var blob = await blobs.OpenAsync(repository, descriptor.Digest, 0, cancel);
        if (blob is null)
        {
            throw new OciException(
                BuildErrors.RecipeInvalid,
                $"the recipe names the blob {descriptor.Digest}, which is not in {repository}"
            );
        }

        var bytes = new byte[size ?? 0];
        await blob.ReadExactlyAsync(bytes, cancel);
        return bytes;
    }
}
