using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// Makes what is attached to a product before it is published: the statement of how it was made, its log
/// (build-extension, "Provenance and log"), and what it is good for ("Products and hints"). The bytes are durable when it returns.
/// </summary>
internal sealed class EvidenceMaker(
    Statements statements,
    SigningKey signing,
    Database database,
    IBlobStore store,
    CondemnedBlobs condemned,
    TimeProvider time
)
{
    private const int BufferBytes = 64 << 10;

    /// <param name="execution">While its lease is held.</param>
    public async Task<Evidence> MakeAsync(
        ExecutionRow execution,
        LeaseResult result,
        Product product,
        CancellationToken cancel
    )
    {
        if (Earlier(execution, result, product) is var (told, emulated))
        {
            return new Evidence([], [], told, emulated, execution.LogSize);
        }

        var log = await StoreLogAsync(execution, cancel);
        var statement = statements.Of(execution, result, product.Manifest, log);
        var created = statement.Predicate.RunDetails.Metadata.FinishedOn!;
        List<(EvidenceManifest Manifest, byte[] Text)> texts =
        [
            EvidenceManifest.Provenance(statement, product.Manifest),
        ];
        if (signing.Sign(texts[0].Text) is { } bundle)
        {
            texts.Add(Signed(bundle, statement, product.Manifest));
        }

        var attached = EvidenceManifest.Log(log, product.Manifest, created);
        var evidence = new BuildEvidence
        {
            Provenance = [.. texts.Select(p => p.Manifest.Descriptor)],
            Log = attached.Descriptor,
        };
        if (product.Hints is { } hints)
        {
            texts.Add(EvidenceManifest.Hints(hints.Document));
            evidence = evidence with { Hints = texts[^1].Manifest.Descriptor };
        }

        await StoreAsync(
            [
                .. texts.Select(p => (p.Manifest.Layer.Digest, new ReadOnlyMemory<byte>(p.Text))),
                EvidenceManifest.Config,
            ],
            cancel
        );
        return new Evidence(
            [
                (log.Digest, log.Size),
                .. texts.Select(p => (p.Manifest.Layer.Digest, p.Manifest.Layer.Size)),
                (Digest.EmptyJson, EvidenceManifest.Config.Bytes.Length),
            ],
            [.. texts.Select(p => p.Manifest), attached],
            evidence,
            execution.Emulated,
            execution.LogSize
        );
    }

    // As cosign attaches it: the artifact's type is that of its layer.
    private static (EvidenceManifest Manifest, byte[] Text) Signed(
        SigstoreBundle bundle,
        ProvenanceStatement statement,
        Descriptor product
    )
    {
        var text = bundle.ToBytes();
        return (
            EvidenceManifest.Of(
                SigstoreBundle.Type,
                new Descriptor
                {
                    MediaType = SigstoreBundle.Type,
                    Digest = Digest.Of(text),
                    Size = text.Length,
                },
                product,
                new(StringComparer.Ordinal)
                {
                    [SigstoreBundle.ContentAnnotation] = SigstoreBundle.ContentValue,
                    [SigstoreBundle.PredicateAnnotation] = statement.PredicateType,
                    [HintAnnotations.Created] = statement.Predicate.RunDetails.Metadata.FinishedOn!,
                }
            ),
            text
        );
    }

    // Nothing was built where the bases are still those of an earlier build: how its product was made is told already.
    private (BuildEvidence Told, bool Emulated)? Earlier(ExecutionRow execution, LeaseResult result, Product product)
    {
        var task = JsonSerializer.Deserialize(execution.Task, BuildJson.Default.LeaseTask)!;
        var digest = product.Manifest.Digest;
        return task.Earlier?.Any(e => e.Manifest.Digest == digest && e.IsOf(result.ResolvedDependencies ?? [])) is true
            ? database
                .Read(c =>
                    c.Query(
                        """
                        SELECT evidence, emulated FROM executions
                        WHERE repository = @repository AND key = @key AND manifest_digest = @digest AND finished IS NOT NULL
                            AND state = 'succeeded' AND evidence IS NOT NULL
                        ORDER BY finished, id
                        """,
                        row =>
                            (
                                Told: JsonSerializer.Deserialize(row.GetString(0), BuildJson.Default.BuildEvidence)!,
                                Emulated: row.GetInt64(1) != 0
                            ),
                        ("repository", execution.Repository),
                        ("key", execution.Key),
                        ("digest", digest.ToString())
                    )
                )
                .Where(e => IsThere(execution, e.Told))
                .Select(e => ((BuildEvidence, bool)?)e)
                .FirstOrDefault()
            : null;
    }

    private bool IsThere(ExecutionRow execution, BuildEvidence evidence) =>
        evidence.Provenance.All(m => database.Read(c => Manifests.Exists(c, execution.Repository, m.Digest)));

    private async Task<Descriptor> StoreLogAsync(ExecutionRow execution, CancellationToken cancel)
    {
        var id = Ids.New(time);
        try
        {
            await using var upload = await store.UploadAsync(id, Digest.Sha256, cancel);
            var buffer = new byte[BufferBytes];
            for (var read = -1; read != 0 && upload.Length < execution.LogSize; )
            {
                var from = upload.Length;
                var most = (int)Math.Min(buffer.Length, execution.LogSize - from);
                read = database.Read(c => BuildLog.Read(c, execution.Id, from, buffer.AsSpan(0, most)));
                await upload.AppendAsync(buffer.AsMemory(0, read), cancel);
            }

            var size = upload.Length;
            await condemned.PrepareAsync(await upload.DigestAsync(cancel), cancel);
            return EvidenceManifest.LogLayer(await upload.CommitAsync(cancel), size);
        }
        finally
        {
            await store.DiscardAsync(id, CancellationToken.None);
        }
    }

    private async Task StoreAsync(
        IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> blobs,
        CancellationToken cancel
    )
    {
        foreach (var (digest, _) in blobs)
        {
            await condemned.PrepareAsync(digest, cancel);
        }

        await store.PutAsync(blobs, cancel);
    }
}
