using System.Data.Common;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Intake;

/// <summary>A recipe that came inside a request, as it is kept.</summary>
internal sealed record InlineRecipe(Descriptor Layer, byte[] Bytes, byte[] Manifest);

/// <summary>
/// Keeps a recipe that came inside a request as a recipe artifact, so that a job's recipe can always be pulled. The same
/// recipe with the same contexts is the same artifact.
/// </summary>
internal sealed class InlineRecipes(
    IBlobStore store,
    Repositories repositories,
    Blobs blobs,
    CondemnedBlobs condemned,
    Manifests manifests,
    TimeProvider time
)
{
    private static readonly byte[] EmptyJson = "{}"u8.ToArray();

    /// <summary>The recipe as it will be kept; nothing is written yet.</summary>
    public static ResolvedRecipe Read(string type, byte[] recipe, IReadOnlyList<Descriptor> contexts)
    {
        var layer = new Descriptor
        {
            MediaType = type == RecipeTypes.Singularity ? BuildMediaTypes.Singularity : BuildMediaTypes.Dockerfile,
            Digest = Digest.Of(recipe),
            Size = recipe.Length,
        };
        var content = Manifest(layer, contexts);
        var manifest =
            ManifestReader.Read(content, MediaTypes.OciManifest, out var fault)
            ?? throw new OciException(BuildErrors.RequestInvalid, fault ?? "the recipe's contexts cannot be named");
        return new ResolvedRecipe
        {
            Artifact = Digest.Of(content),
            Type = type,
            Blob = layer,
            Text = Encoding.UTF8.GetString(recipe),
            Contexts = RecipeArtifact.Read(manifest).Contexts,
            Inline = new InlineRecipe(layer, recipe, content),
        };
    }

    /// <summary>
    /// Makes the bytes durable and runs the transaction that accepts their request, which <see cref="Put"/>s the artifact.
    /// Where that is refused, the bytes become a blob that no repository sees, which the collector takes away.
    /// </summary>
    public async Task<T> KeepAsync<T>(InlineRecipe recipe, Func<DbTransaction, T> accept, CancellationToken cancel)
    {
        await KeepAsync(recipe.Bytes, recipe.Layer.Digest, cancel);
        await KeepAsync(EmptyJson, Digest.EmptyJson, cancel);
        try
        {
            return await condemned.RecordAsync([recipe.Layer.Digest, Digest.EmptyJson], accept, cancel);
        }
        catch (OciException)
        {
            await condemned.RecordAsync(
                [recipe.Layer.Digest],
                transaction =>
                {
                    blobs.Record(transaction, recipe.Layer.Digest, recipe.Layer.Size);
                    return true;
                },
                CancellationToken.None
            );
            throw;
        }
    }

    /// <summary>Stores the artifact in the transaction that accepts its request.</summary>
    /// <exception cref="OciException">A context blob is not in the repository, or a quota is full.</exception>
    public void Put(DbTransaction transaction, RepositoryName repository, InlineRecipe recipe, string principal)
    {
        var id = repositories.Ensure(transaction, repository);
        blobs.Record(transaction, recipe.Layer.Digest, recipe.Layer.Size);
        blobs.Record(transaction, Digest.EmptyJson, EmptyJson.Length);
        blobs.Link(transaction, id, recipe.Layer.Digest);
        blobs.Link(transaction, id, Digest.EmptyJson);
        manifests.Put(
            transaction,
            new ManifestPush
            {
                Repository = repository,
                Content = recipe.Manifest,
                Principal = principal,
            }
        );
    }

    /// <summary>Keeps an artifact of a registry behind in the transaction that accepts a request for it.</summary>
    public void PutCopy(DbTransaction transaction, ManifestPush copy) => manifests.Put(transaction, copy);

    private static byte[] Manifest(Descriptor recipe, IReadOnlyList<Descriptor> contexts) =>
        JsonSerializer.SerializeToUtf8Bytes(
            new ImageManifest
            {
                ArtifactType = BuildMediaTypes.Recipe,
                Config = new Descriptor
                {
                    MediaType = MediaTypes.OciEmpty,
                    Digest = Digest.EmptyJson,
                    Size = EmptyJson.Length,
                    Data = EmptyJson,
                },
                Layers = [recipe, .. contexts],
            },
            OciJson.Default.ImageManifest
        );

    private async Task KeepAsync(byte[] content, Digest digest, CancellationToken cancel)
    {
        await condemned.PrepareAsync(digest, cancel);
        if (await store.SizeAsync(digest, cancel) is not null)
        {
            return;
        }

        var id = Ids.New(time);
        try
        {
            await using var upload = await store.UploadAsync(id, digest.Algorithm, cancel);
            await upload.AppendAsync(content, cancel);
            await upload.CommitAsync(cancel);
        }
        finally
        {
            await store.DiscardAsync(id, CancellationToken.None);
        }
    }
}
