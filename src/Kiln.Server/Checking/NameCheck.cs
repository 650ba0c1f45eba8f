using System.Data.Common;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;

namespace Kiln.Server.Checking;

/// <summary>Tags against manifests, and uploads under way against their bytes.</summary>
internal sealed class NameCheck(Database database, IBlobStore store, TimeProvider time)
{
    // An upload that a server is about to note is younger.
    private static readonly TimeSpan Fresh = TimeSpan.FromMinutes(10);

    /// <summary>Checks tags and uploads.</summary>
    public async Task RunAsync(CheckRun run, CancellationToken cancel)
    {
        var tags = database.Read(c => c.Scalar<long>("SELECT COUNT(*) FROM tags"));
        run.Count(s => s with { Tags = tags });
        foreach (var (repository, name, tag, digest) in DanglingTags())
        {
            await run.MendAsync(
                "tag-dangling",
                $"{name}:{tag}",
                $"the tag points at {digest}, which the repository does not have; a pull of it is answered with 404",
                "the tag is removed",
                () =>
                    database.WriteAsync(
                        transaction =>
                            transaction.Run(
                                "DELETE FROM tags WHERE repository = @repository AND name = @tag",
                                ("repository", repository),
                                ("tag", tag)
                            ),
                        CancellationToken.None
                    )
            );
        }

        await UploadsAsync(run, cancel);
    }

    private List<(long Repository, string Name, string Tag, string Digest)> DanglingTags() =>
        database.Read(c =>
            c.Query(
                """
                SELECT t.repository, r.name, t.name, t.digest FROM tags t JOIN repositories r ON r.id = t.repository
                WHERE NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository = t.repository AND m.digest = t.digest)
                ORDER BY r.name, t.name
                """,
                row => (row.GetInt64(0), row.GetString(1), row.GetString(2), row.GetString(3))
            )
        );

    private async Task UploadsAsync(CheckRun run, CancellationToken cancel)
    {
        var sessions = database.Read(c => c.Query("SELECT id, created FROM uploads", Session));
        var lost = 0;
        foreach (var (id, created) in sessions)
        {
            // A session without any byte has no file yet.
            lost +=
                created < time.Milliseconds() - Fresh.TotalMilliseconds && await store.UploadedAsync(id, cancel) is null
                    ? 1
                    : 0;
        }

        if (lost > 0)
        {
            run.Note(
                "upload-without-bytes",
                $"{lost} uploads",
                "they are open and no byte of them is stored; a client that comes back begins anew",
                "nothing: they expire by themselves"
            );
        }
    }

    private static (string Id, long Created) Session(DbDataReader row) => (row.GetString(0), row.GetInt64(1));
}
