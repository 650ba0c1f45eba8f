using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Publish;

/// <summary>Makes a checked product visible in its repository, in the transaction that ends its execution.</summary>
internal sealed class Promotion(Blobs blobs, Manifests manifests)
{
    /// <summary>Why the operator's rules do not let the product in, as a sentence; null where they do.</summary>
    public string? Refusal(DbTransaction transaction, ExecutionRow execution, Product product) =>
        manifests
            .Refusal(
                transaction,
                execution.Repository,
                Push(transaction, execution, product),
                product.Manifest.Digest,
                product.Info
            )
            ?.Message;

    /// <returns><paramref name="outcome"/> with the product in it.</returns>
    public ExecutionOutcome Promote(
        DbTransaction transaction,
        ExecutionRow execution,
        Product product,
        ExecutionOutcome outcome,
        IReadOnlyList<ResolvedDependency>? dependencies
    )
    {
        foreach (var blob in product.Info.Layers.Prepend(product.Info.Config!))
        {
            blobs.Link(transaction, execution.Repository, blob.Digest);
        }

        manifests.Put(transaction, Push(transaction, execution, product));
        return outcome with
        {
            Manifest = product.Manifest,
            Hints = product.Hints is null
                ? null
                : JsonSerializer.Serialize(product.Hints, BuildJson.Default.ImageHints),
            Dependencies = dependencies is null
                ? null
                : JsonSerializer.Serialize(dependencies, BuildJson.Default.IReadOnlyListResolvedDependency),
        };
    }

    private static ManifestPush Push(DbTransaction transaction, ExecutionRow execution, Product product) =>
        new()
        {
            Repository = Repositories.NameOf(transaction.Connection!, execution.Repository),
            Content = product.Content,
            ContentType = product.Manifest.MediaType,
            // By which the job names it.
            Digest = product.Manifest.Digest,
            Principal = execution.RequestedBy,
        };
}
