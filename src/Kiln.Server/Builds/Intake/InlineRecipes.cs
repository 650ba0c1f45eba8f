using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Intake;

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

    /// <exception cref="OciException">A context blob is not in the repository.</exception>
    public async Task<ResolvedRecipe> StoreAsync(
        RepositoryName repository,
        string type,
        byte[] recipe,
        IReadOnlyList<Descriptor> contexts,
        string principal,
        CancellationToken cancel
    )
    {
        var layer = new Descriptor
        {
            MediaType = type == RecipeTypes.Singularity ? BuildMediaTypes.Singularity : BuildMediaTypes.Dockerfile,
            Digest = Digest.Of(recipe),
            Size = recipe.Length,
        };
        await KeepAsync(recipe, layer.Digest, cancel);
        await KeepAsync(EmptyJson, Digest.EmptyJson, cancel);
        var content = Manifest(layer, contexts);
        var stored = await condemned.RecordAsync(
            [layer.Digest, Digest.EmptyJson],
            transaction =>
            {
                var id = repositories.Ensure(transaction, repository);
                blobs.Record(transaction, layer.Digest, layer.Size);
                blobs.Record(transaction, Digest.EmptyJson, EmptyJson.Length);
                blobs.Link(transaction, id, layer.Digest);
                blobs.Link(transaction, id, Digest.EmptyJson);
                return manifests.Put(
                    transaction,
                    new ManifestPush
                    {
                        Repository = repository,
                        Content = content,
                        Principal = principal,
                    }
                );
            },
            cancel
        );
        return new ResolvedRecipe
        {
            Artifact = stored.Digest,
            Type = type,
            Blob = layer,
            Text = Encoding.UTF8.GetString(recipe),
            Contexts = RecipeArtifact.Read(stored.Push.Manifest).Contexts,
        };
    }

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
