using System.Collections.Concurrent;
using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>A tag of an upstream as it is known here.</summary>
/// <param name="Checked">When the upstream last confirmed it.</param>
internal sealed record CachedTag(Digest Digest, DateTimeOffset Checked);

/// <summary>
/// Notes about what is cached: which manifests are copies, when tags were confirmed. What somebody wants is taken out of the
/// collector's sight.
/// </summary>
internal sealed class CacheBook(Database database, Tags tags, TimeProvider time)
{
    private const int MaxNoted = 50_000;
    private static readonly TimeSpan UseInterval = TimeSpan.FromHours(1);

    private readonly ConcurrentDictionary<string, long> _noted = new(StringComparer.Ordinal);

    /// <summary>A tag, when it was last confirmed; null where there is none. One that was never confirmed is as old as time.</summary>
    public CachedTag? Tag(RepositoryName repository, Tag tag) =>
        database.Read(c =>
            c.Query(
                    """
                    SELECT t.digest, u.checked FROM repositories r
                    JOIN tags t ON t.repository = r.id
                    LEFT JOIN upstream_tags u ON u.repository = t.repository AND u.name = t.name
                    WHERE r.name = @name AND t.name = @tag
                    """,
                    row => new CachedTag(
                        Digest.Parse(row.GetString(0)),
                        DateTimeOffset.FromUnixTimeMilliseconds(row.LongOrNull(1) ?? 0)
                    ),
                    ("name", repository.Value),
                    ("tag", tag.Value)
                )
                .FirstOrDefault()
        );

    /// <summary>Notes a manifest that has just come.</summary>
    public void Fetched(DbTransaction transaction, long repository, RepositoryName name, Digest digest)
    {
        transaction.Run(
            """
            INSERT INTO upstream_manifests (repository, digest, fetched, used) VALUES (@repository, @digest, @now, @now)
            ON CONFLICT (repository, digest) DO NOTHING
            """,
            ("repository", repository),
            ("digest", digest.ToString()),
            ("now", time.Milliseconds())
        );
        _noted[$"{name}@{digest}"] = time.Milliseconds();
    }

    /// <summary>Points a tag at a manifest that is here, if it does not, and notes that this is what the upstream says.</summary>
    public void Confirm(DbTransaction transaction, long repository, RepositoryName name, Tag tag, Digest digest)
    {
        var current = transaction.Scalar<string>(
            "SELECT digest FROM tags WHERE repository = @repository AND name = @tag",
            ("repository", repository),
            ("tag", tag.Value)
        );
        if (current != digest.ToString())
        {
            tags.Set(transaction, repository, name, tag, digest);
        }

        transaction.Run(
            """
            INSERT INTO upstream_tags (repository, name, checked) VALUES (@repository, @tag, @now)
            ON CONFLICT (repository, name) DO UPDATE SET checked = excluded.checked
            """,
            ("repository", repository),
            ("tag", tag.Value),
            ("now", time.Milliseconds())
        );
    }

    /// <summary>Somebody wants a manifest, so that the collector leaves it: a write in an hour at most.</summary>
    public async ValueTask UseAsync(RepositoryName repository, Digest digest, CancellationToken cancel)
    {
        var now = time.Milliseconds();
        var old = now - (long)UseInterval.TotalMilliseconds;
        var key = $"{repository}@{digest}";
        if (_noted.TryGetValue(key, out var noted) && noted > old)
        {
            return;
        }

        if (_noted.Count >= MaxNoted)
        {
            _noted.Clear();
        }

        // Before the write, so that of many who want it one writes.
        _noted[key] = now;
        try
        {
            await NoteUseAsync(repository, digest, cancel);
        }
        catch
        {
            _noted.TryRemove(key, out _);
            throw;
        }
    }

    private Task NoteUseAsync(RepositoryName repository, Digest digest, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                if (Repositories.Find(transaction.Connection!, repository) is { } id)
                {
                    Manifests.Spare(transaction, id, digest);
                }
            },
            cancel
        );
}
