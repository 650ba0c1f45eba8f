using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Journal;

/// <summary>What names stand for in a database, as the entries that would make it.</summary>
internal static class NameState
{
    /// <summary>
    /// Repositories in byte order; of each the blobs that it sees, its manifests, its tags, each in byte order. Read in
    /// pages, so that it may be of any size.
    /// </summary>
    public static IEnumerable<JournalEntry> Of(DbConnection connection, int page)
    {
        foreach (var repository in Repositories(connection, page))
        {
            yield return repository.Entry(JournalOps.Repository, null, null, null, repository.Created);
            foreach (
                var row in Rows(
                    connection,
                    page,
                    "SELECT digest, '', '', created FROM repository_blobs WHERE repository = @id AND digest > @last",
                    repository.Id
                )
            )
            {
                yield return repository.Entry(JournalOps.Link, null, row.Key, null, row.Time);
            }

            foreach (
                var row in Rows(
                    connection,
                    page,
                    "SELECT digest, '', media_type, created FROM manifests WHERE repository = @id AND digest > @last",
                    repository.Id
                )
            )
            {
                yield return repository.Entry(JournalOps.Manifest, null, row.Key, row.MediaType, row.Time);
            }

            foreach (
                var row in Rows(
                    connection,
                    page,
                    "SELECT name, digest, '', updated FROM tags WHERE repository = @id AND name > @last",
                    repository.Id
                )
            )
            {
                yield return repository.Entry(JournalOps.Tag, row.Key, row.Digest, null, row.Time);
            }
        }
    }

    private static IEnumerable<Repository> Repositories(DbConnection connection, int page)
    {
        for (var last = ""; ; )
        {
            var rows = connection.Query(
                "SELECT id, name, created FROM repositories WHERE name > @last ORDER BY name LIMIT @limit",
                row => new Repository(row.GetInt64(0), row.GetString(1), row.GetInt64(2)),
                ("last", last),
                ("limit", (long)page)
            );
            foreach (var row in rows)
            {
                yield return row;
            }

            if (rows.Count < page)
            {
                yield break;
            }

            last = rows[^1].Name;
        }
    }

    private static IEnumerable<Row> Rows(DbConnection connection, int page, string select, long repository)
    {
        for (var last = ""; ; )
        {
            var rows = connection.Query(
                $"{select} ORDER BY 1 LIMIT @limit",
                row => new Row(row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3)),
                ("id", repository),
                ("last", last),
                ("limit", (long)page)
            );
            foreach (var row in rows)
            {
                yield return row;
            }

            if (rows.Count < page)
            {
                yield break;
            }

            last = rows[^1].Key;
        }
    }

    private sealed record Row(string Key, string Digest, string MediaType, long Time);

    private sealed record Repository(long Id, string Name, long Created)
    {
        public JournalEntry Entry(string op, string? tag, string? digest, string? mediaType, long time) =>
            new()
            {
                Op = op,
                Repository = Name,
                Tag = tag,
                Digest = digest,
                MediaType = mediaType,
                Time = time,
            };
    }
}
