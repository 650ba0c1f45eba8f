using System.Data.Common;
using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Checking;

/// <summary>Manifests against their digests, against the rows that were made of them, and against what they refer to.</summary>
internal sealed class ManifestCheck(Database database, IBlobStore store, ServerOptions options, TimeProvider time)
{
    private const int Page = 100;

    /// <summary>Checks every manifest.</summary>
    public async Task RunAsync(CheckRun run, CancellationToken cancel)
    {
        for (var (repository, digest) = (0L, ""); ; )
        {
            var page = database.Read(c =>
                c.Query(
                    """
                    SELECT m.repository, r.name, m.digest, m.media_type, m.artifact_type, m.subject, m.content, m.created,
                    CASE WHEN EXISTS (
                        SELECT 1 FROM upstream_manifests u WHERE u.repository = m.repository AND u.digest = m.digest
                    ) THEN 1 ELSE 0 END
                    FROM manifests m JOIN repositories r ON r.id = m.repository
                    WHERE m.repository > @repository OR (m.repository = @repository AND m.digest > @digest)
                    ORDER BY m.repository, m.digest LIMIT @limit
                    """,
                    Row.Map,
                    ("repository", repository),
                    ("digest", digest),
                    ("limit", (long)Page)
                )
            );
            foreach (var row in page)
            {
                cancel.ThrowIfCancellationRequested();
                run.Count(s => s with { Manifests = s.Manifests + 1 });
                await CheckAsync(run, row, cancel);
            }

            if (page.Count < Page)
            {
                return;
            }

            (repository, digest) = (page[^1].RepositoryId, page[^1].Digest.ToString());
        }
    }

    private async Task CheckAsync(CheckRun run, Row row, CancellationToken cancel)
    {
        var content = row.Content;
        var info = ManifestReader.Read(content, row.MediaType, out _);
        if (Digest.Of(content, row.Digest.Algorithm) != row.Digest || info is null)
        {
            content = await SmallBlob.ReadAsync(store, row.Digest, cancel) ?? [];
            info = ManifestReader.Read(content, row.MediaType, out _);
            var whole = info is not null && Digest.Of(content, row.Digest.Algorithm) == row.Digest;
            await run.MendAsync(
                "manifest-corrupt",
                row.Name,
                "the bytes in the database do not have this digest; pulls of it fail",
                whole
                    ? "they are taken from the blob store, which has them whole"
                    : "it is removed with the tags that point at it; push it again",
                () => database.WriteAsync(t => Rewrite(t, row, content, whole ? info : null), CancellationToken.None)
            );
            if (!whole)
            {
                return;
            }
        }
        else
        {
            await RowsAsync(run, row, info);
            await BytesAsync(run, row, cancel);
        }

        // What a copy of an upstream's manifest refers to comes when somebody wants it.
        if (!row.IsCopy && !IsUpstreams(row.Repository))
        {
            await ReferencesAsync(run, row, info!, cancel);
        }
    }

    // Nothing is pushed there; a rebuild does not know any more which manifests are copies.
    private bool IsUpstreams(string repository) =>
        options.Upstreams.Any(u => repository.StartsWith($"{u.Prefix ?? u.Host}/", StringComparison.OrdinalIgnoreCase));

    // What was written of the manifest when it came, for lists and for garbage collection.
    private async Task RowsAsync(CheckRun run, Row row, ManifestInfo info)
    {
        var expected = ManifestRows
            .References(info)
            .Select(r => $"{r.Digest} {r.Kind}")
            .Distinct()
            .Order(StringComparer.Ordinal);
        var actual = database.Read(c =>
            c.Query(
                "SELECT digest, kind FROM manifest_references WHERE repository = @repository AND manifest = @digest",
                r => $"{r.GetString(0)} {r.GetString(1)}",
                ("repository", row.RepositoryId),
                ("digest", row.Digest.ToString())
            )
        );
        if (
            row.ArtifactType != info.EffectiveArtifactType
            || row.Subject != info.Subject?.Digest.ToString()
            || !expected.SequenceEqual(actual.Order(StringComparer.Ordinal), StringComparer.Ordinal)
        )
        {
            await run.MendAsync(
                "manifest-rows",
                row.Name,
                "what the database says of the manifest (its subject, its type, what it refers to) is not what is in it; "
                    + "lists of referrers and garbage collection go wrong",
                "the rows are made anew from the manifest",
                () => database.WriteAsync(t => Rewrite(t, row, row.Content, info), CancellationToken.None)
            );
        }
    }

    private async Task BytesAsync(CheckRun run, Row row, CancellationToken cancel)
    {
        if (await store.SizeAsync(row.Digest, cancel) == row.Content.Length)
        {
            return;
        }

        await run.MendAsync(
            "manifest-not-in-store",
            row.Name,
            "its bytes are in the database only; without that it would be lost",
            "they are written to the blob store",
            async () =>
            {
                await store.PutAsync([(row.Digest, row.Content)], CancellationToken.None);
                await database.WriteAsync(
                    transaction =>
                        transaction.Run(
                            "INSERT INTO blobs (digest, size, created) VALUES (@digest, @size, @now) ON CONFLICT DO NOTHING",
                            ("digest", row.Digest.ToString()),
                            ("size", (long)row.Content.Length),
                            ("now", time.Milliseconds())
                        ),
                    CancellationToken.None
                );
            }
        );
    }

    private async Task ReferencesAsync(CheckRun run, Row row, ManifestInfo info, CancellationToken cancel)
    {
        var mayLack =
            options.Sparse >= (MediaTypes.IsIndex(info.MediaType) ? SparseManifests.Indexes : SparseManifests.All);
        foreach (var wanted in Manifests.RequiredBlobs(info).Concat(info.Manifests))
        {
            if (
                database.Read(c =>
                    Blobs.IsLinked(c, row.RepositoryId, wanted.Digest)
                    || Manifests.Exists(c, row.RepositoryId, wanted.Digest)
                )
            )
            {
                continue;
            }

            var what = info.Manifests.Contains(wanted) ? "manifest" : "blob";
            if (mayLack)
            {
                run.Note(
                    "reference-missing",
                    row.Name,
                    $"the repository does not have the {what} {wanted.Digest}, to which it refers",
                    "nothing: manifests may be sparse here"
                );
            }
            else if (what == "blob" && await store.SizeAsync(wanted.Digest, cancel) == wanted.Size)
            {
                await run.MendAsync(
                    "link-missing",
                    row.Name,
                    $"the repository does not see the blob {wanted.Digest}, to which it refers; pulls of it fail",
                    "the repository sees the blob again, which is in the store",
                    () => database.WriteAsync(t => Link(t, row, wanted), CancellationToken.None)
                );
            }
            else
            {
                run.Report(
                    "reference-missing",
                    row.Name,
                    $"the repository does not have the {what} {wanted.Digest}, to which it refers; pulls of it fail",
                    "push the image again from where it is whole, or delete it; an index may lack entries with "
                        + "--sparse-manifests"
                );
            }
        }
    }

    private void Link(DbTransaction transaction, Row row, Descriptor blob)
    {
        transaction.Run(
            "INSERT INTO blobs (digest, size, created) VALUES (@digest, @size, @now) ON CONFLICT DO NOTHING",
            ("digest", blob.Digest.ToString()),
            ("size", blob.Size),
            ("now", time.Milliseconds())
        );
        transaction.Run(
            "INSERT INTO repository_blobs (repository, digest, created) VALUES (@repository, @digest, @now)",
            ("repository", row.RepositoryId),
            ("digest", blob.Digest.ToString()),
            ("now", time.Milliseconds())
        );
    }

    private static void Rewrite(DbTransaction transaction, Row row, byte[] content, ManifestInfo? info)
    {
        foreach (var (table, column) in new[] { ("manifest_references", "manifest"), ("manifests", "digest") })
        {
            transaction.Run(
                $"DELETE FROM {table} WHERE repository = @repository AND {column} = @digest",
                ("repository", row.RepositoryId),
                ("digest", row.Digest.ToString())
            );
        }

        if (info is not null)
        {
            ManifestRows.Insert(transaction, row.RepositoryId, row.Digest, info, content, row.Created);
            return;
        }

        transaction.Run(
            "DELETE FROM tags WHERE repository = @repository AND digest = @digest",
            ("repository", row.RepositoryId),
            ("digest", row.Digest.ToString())
        );
    }

    private sealed record Row(
        long RepositoryId,
        string Repository,
        Digest Digest,
        string MediaType,
        string? ArtifactType,
        string? Subject,
        byte[] Content,
        long Created,
        bool IsCopy
    )
    {
        public string Name => $"{Repository}@{Digest}";

        public static Row Map(DbDataReader row) =>
            new(
                row.GetInt64(0),
                row.GetString(1),
                Digest.Parse(row.GetString(2)),
                row.GetString(3),
                row.TextOrNull(4),
                row.TextOrNull(5),
                row.GetFieldValue<byte[]>(6),
                row.GetInt64(7),
                row.GetInt64(8) != 0
            );
    }
}
