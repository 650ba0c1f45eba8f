using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>Repositories by name. One comes to be with the first thing that is stored in it.</summary>
internal sealed class Repositories(Database database, TimeProvider time)
{
    private const int MinBatch = 100;

    /// <summary>The key of a repository; null where there is none of that name.</summary>
    public long? Find(RepositoryName name) => database.Read(c => Find(c, name));

    /// <inheritdoc cref="Find(RepositoryName)"/>
    public static long? Find(DbConnection connection, RepositoryName name) =>
        connection.Scalar<long?>("SELECT id FROM repositories WHERE name = @name", ("name", name.Value));

    /// <summary>The name of the repository with a key.</summary>
    public static RepositoryName NameOf(DbConnection connection, long repository) =>
        RepositoryName.Parse(
            connection.Scalar<string>("SELECT name FROM repositories WHERE id = @id", ("id", repository))!
        );

    /// <summary>The key of a repository, which is created where it is absent.</summary>
    public long Ensure(DbTransaction transaction, RepositoryName name)
    {
        if (Find(transaction.Connection!, name) is { } found)
        {
            return found;
        }

        var now = time.Milliseconds();
        var id = transaction.Scalar<long>(
            "INSERT INTO repositories (name, created) VALUES (@name, @now) RETURNING id",
            ("name", name.Value),
            ("now", now)
        );
        JournalOutbox.Note(
            transaction,
            new JournalEntry
            {
                Op = JournalOps.Repository,
                Repository = name.Value,
                Time = now,
            }
        );
        return id;
    }

    /// <summary>Names in byte order of the repositories that hold a manifest, after the position <paramref name="last"/>.</summary>
    /// <param name="limit">Names at most.</param>
    /// <param name="mayList">Whether a name may be in the list.</param>
    public Page<string> List(string? last, int limit, Func<string, bool> mayList)
    {
        var names = new List<string>();
        // As many at a time as the page needs, since most of them, if not all, may be listed.
        for (
            var batch = Batch(last ?? "", limit);
            batch.Count > 0 && names.Count <= limit;
            batch = Batch(batch[^1], limit)
        )
        {
            names.AddRange(batch.Where(mayList));
        }

        return names.Count <= limit ? new(names, More: false) : new([.. names.Take(limit)], More: true);
    }

    private List<string> Batch(string last, int limit) =>
        database.Read(c =>
            c.Query(
                """
                SELECT r.name FROM repositories r
                WHERE r.name > @last AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository = r.id)
                ORDER BY r.name LIMIT @limit
                """,
                row => row.GetString(0),
                ("last", last),
                ("limit", Math.Max(limit, MinBatch) + 1L)
            )
        );
}
