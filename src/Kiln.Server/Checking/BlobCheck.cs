using System.Buffers;
using System.Collections.Concurrent;
using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;

namespace Kiln.Server.Checking;

/// <summary>
/// Blobs in the store against their digests and against their rows, in both directions. As many at a time as the machine has
/// processors; memory does not depend on how many there are or how large.
/// </summary>
internal sealed class BlobCheck(Database database, IBlobStore store, DataDirectory directory)
{
    private const int Page = 1000;
    private const int BufferBytes = 1 << 20;

    // What names a blob, before the blob itself.
    private static readonly string[] Tables = ["repository_blobs", "lease_blobs", "blobs"];

    /// <summary>Checks every blob.</summary>
    public async Task RunAsync(CheckRun run, CancellationToken cancel)
    {
        await Parallel.ForEachAsync(
            store.ListAsync(cancel),
            new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = cancel },
            async (blob, token) => await StoredAsync(run, blob.Digest, blob.Size, token)
        );
        await MissingAsync(run, cancel);
    }

    private async Task StoredAsync(CheckRun run, Digest digest, long size, CancellationToken cancel)
    {
        var row = database.Read(c =>
            c.Scalar<long?>("SELECT size FROM blobs WHERE digest = @digest", ("digest", digest.ToString()))
        );
        run.Count(s => s with { Blobs = s.Blobs + 1, Bytes = s.Bytes + size });
        var read = run.Quick && row == size ? digest : await ReadAsync(digest, cancel);
        if (read != digest)
        {
            await WrongAsync(run, digest, read, cancel);
        }
        else if (row is null)
        {
            await run.MendAsync(
                "blob-without-row",
                digest.ToString(),
                $"the blob is whole ({size} bytes), but the database does not know it; its space is never freed",
                "it is noted as a blob that no repository sees, for garbage collection",
                () => database.WriteAsync(transaction => Record(transaction, digest, size), CancellationToken.None)
            );
        }
        else if (row != size)
        {
            await run.MendAsync(
                "blob-size",
                digest.ToString(),
                $"the blob is whole and has {size} bytes, but its row says {row}; clients are told a wrong length",
                "the row is set right",
                () =>
                    database.WriteAsync(
                        transaction =>
                            transaction.Run(
                                "UPDATE blobs SET size = @size WHERE digest = @digest",
                                ("size", size),
                                ("digest", digest.ToString())
                            ),
                        CancellationToken.None
                    )
            );
        }
    }

    private static void Record(DbTransaction transaction, Digest digest, long size) =>
        transaction.Run(
            "INSERT INTO blobs (digest, size, created) VALUES (@digest, @size, @now) ON CONFLICT DO NOTHING",
            ("digest", digest.ToString()),
            ("size", size),
            ("now", TimeProvider.System.Milliseconds())
        );

    private async Task WrongAsync(CheckRun run, Digest digest, Digest? read, CancellationToken cancel)
    {
        if (await ReadAsync(digest, cancel) == read)
        {
            await CorruptAsync(run, digest);
            return;
        }

        run.Report(
            "blob-unsteady",
            digest.ToString(),
            "read twice, its bytes were not the same: the disk, its cable or the memory fails, or something writes there",
            "nothing was moved, since it may be whole. See what the kernel says of the disk (dmesg), copy what can be read, "
                + "and run the check again"
        );
    }

    private Task CorruptAsync(CheckRun run, Digest digest) =>
        run.MendAsync(
            "blob-corrupt",
            digest.ToString(),
            $"the bytes do not have this digest; pulls of {Users(digest)} fail",
            "the bytes are moved to quarantine/, and no repository sees the blob any more, so that a push of it heals it",
            async () =>
            {
                await SetAsideAsync(digest);
                await ForgetAsync(digest);
            }
        );

    // Rows whose bytes are nowhere.
    private async Task MissingAsync(CheckRun run, CancellationToken cancel)
    {
        for (var last = ""; ; )
        {
            var page = database.Read(c =>
                c.Query(
                    "SELECT digest FROM blobs WHERE digest > @last ORDER BY digest LIMIT @limit",
                    row => Digest.Parse(row.GetString(0)),
                    ("last", last),
                    ("limit", (long)Page)
                )
            );
            foreach (var digest in page)
            {
                if (await store.SizeAsync(digest, cancel) is null)
                {
                    await run.MendAsync(
                        "blob-missing",
                        digest.ToString(),
                        $"its bytes are not in the blob store; pulls of {Users(digest)} fail, and pushes leave it out",
                        "no repository sees the blob any more, so that a push of it heals it",
                        () => ForgetAsync(digest)
                    );
                }
            }

            if (page.Count < Page)
            {
                return;
            }

            last = page[^1].ToString();
        }
    }

    // The digest of what is read; null where it cannot be read.
    private async Task<Digest?> ReadAsync(Digest digest, CancellationToken cancel)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            await using var stream = await store.OpenAsync(digest, 0, cancel);
            if (stream is null)
            {
                return null;
            }

            using var hash = Digest.Start(digest.Algorithm);
            for (int read; (read = await stream.ReadAsync(buffer, cancel)) > 0; )
            {
                hash.AppendData(buffer, 0, read);
            }

            return Digest.Finish(digest.Algorithm, hash);
        }
        catch (IOException)
        {
            // What the disk does not give back is as good as damaged.
            return null;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private string Users(Digest digest)
    {
        var names = database.Read(c =>
            c.Query(
                """
                SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository
                WHERE l.digest = @digest ORDER BY r.name LIMIT 4
                """,
                row => row.GetString(0),
                ("digest", digest.ToString())
            )
        );
        return names.Count switch
        {
            0 => "nothing (no repository sees it)",
            > 3 => $"what uses it in {string.Join(", ", names[..3])} and others",
            _ => $"what uses it in {string.Join(", ", names)}",
        };
    }

    private async Task SetAsideAsync(Digest digest)
    {
        Directory.CreateDirectory(
            directory.Quarantine,
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
        var path = Path.Combine(directory.Quarantine, $"{digest.Algorithm}-{digest.Encoded}");
        await using (var stream = await store.OpenAsync(digest, 0, CancellationToken.None))
        await using (var file = File.Create(path))
        {
            if (stream is not null)
            {
                await stream.CopyToAsync(file);
            }

            file.Flush(flushToDisk: true);
        }

        Posix.FlushDirectory(directory.Quarantine);
        await store.DeleteAsync(digest, CancellationToken.None);
    }

    private Task ForgetAsync(Digest digest) =>
        database.WriteAsync(
            transaction =>
            {
                foreach (var table in Tables)
                {
                    transaction.Run($"DELETE FROM {table} WHERE digest = @digest", ("digest", digest.ToString()));
                }
            },
            CancellationToken.None
        );
}
