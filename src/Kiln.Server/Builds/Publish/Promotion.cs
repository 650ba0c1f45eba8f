using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Publish;

/// <summary>Makes a checked product visible in its repository, in the transaction that ends its execution.</summary>
internal sealed class Promotion(Blobs blobs, Manifests manifests)
{
    /// <summary>Why the operator's rules do not let the product in, as a sentence; null where they do.</summary>
    public string? Refusal(DbTransaction transaction, ExecutionRow execution, Product product, Evidence evidence)
    {
        // All of it comes in or nothing: what is attached counts with the product.
        var isThere = Manifests.Exists(transaction, execution.Repository, product.Manifest.Digest);
        var first = isThere && evidence.Manifests.Count > 0 ? evidence.Manifests[0].Descriptor : product.Manifest;
        return manifests
            .Refusal(
                transaction,
                execution.Repository,
                Push(transaction, execution, product),
                first.Digest,
                product.Info with
                {
                    Layers = [.. product.Info.Layers, .. evidence.Manifests.SelectMany(m => m.Info.Layers)],
                },
                evidence.Manifests.Sum(m => m.Content.Length)
            )
            ?.Message;
    }

    /// <summary>Notes the bytes of what is to be attached; no repository sees them by that.</summary>
    public void Record(DbTransaction transaction, Evidence evidence)
    {
        foreach (var (digest, size) in evidence.Blobs)
        {
            blobs.Record(transaction, digest, size);
        }
    }

    /// <param name="evidence">Of which <see cref="Record"/> has noted the bytes.</param>
    /// <returns><paramref name="outcome"/> with the product in it.</returns>
    public ExecutionOutcome Promote(
        DbTransaction transaction,
        ExecutionRow execution,
        Product product,
        Evidence evidence,
        ExecutionOutcome outcome,
        LeaseResult result
    )
    {
        foreach (var blob in product.Info.Layers.Prepend(product.Info.Config!))
        {
            blobs.Link(transaction, execution.Repository, blob.Digest);
        }

        foreach (var digest in evidence.Digests)
        {
            blobs.Link(transaction, execution.Repository, digest);
        }

        var push = Push(transaction, execution, product);
        manifests.Put(transaction, push);
        foreach (var attached in evidence.Manifests)
        {
            var own = push with { Content = attached.Content, Digest = attached.Descriptor.Digest };
            manifests.Put(transaction, own);
        }

        // Whose product it is, counts; who has found that nothing was to be built, does not.
        transaction.Run(
            "UPDATE executions SET emulated = @emulated WHERE id = @id",
            ("emulated", evidence.Emulated ? 1 : 0),
            ("id", execution.Id)
        );
        return outcome with
        {
            Manifest = product.Manifest,
            Hints = product.Hints is { } hints
                ? JsonSerializer.Serialize(hints.InJob, BuildJson.Default.ImageHints)
                : null,
            Dependencies = result.ResolvedDependencies is not { } dependencies
                ? null
                : JsonSerializer.Serialize(dependencies, BuildJson.Default.IReadOnlyListResolvedDependency),
            Flattening = result.Flattening is not { } flattening
                ? null
                : JsonSerializer.Serialize(flattening, BuildJson.Default.FlattenReport),
            Evidence = JsonSerializer.Serialize(evidence.Told, BuildJson.Default.BuildEvidence),
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
