using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Storage.S3;

/// <summary>
/// Blobs as objects of a bucket: <c>blobs/ALGORITHM/AB/ABCD…</c>. Uploads under way are objects <c>uploads/ID/…</c> and rows
/// (<see cref="StagedUploads"/>), so that any server can go on with them. An object appears under a blob's key in one step
/// and only after its digest was compared: S3 shows an object whole or not at all.
/// </summary>
internal sealed class S3BlobStore(S3Bucket bucket, StagedUploads rows, StorageOptions options, TimeProvider time)
    : IBlobStore,
        IDisposable
{
    private const string Uploads = "uploads/";

    // Hash states of uploads between two requests are kept up to this number; beyond it, stored bytes are hashed again.
    private const int MaxIdle = 1024;

    // A server that was killed is known to be dead after this; until then its uploads may still be its own.
    private static readonly TimeSpan TakeOver = ServerPresence.Patience + TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(200);

    private readonly ConcurrentDictionary<string, bool> _held = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, IdleHash> _idle = new(StringComparer.Ordinal);

    public Task<long?> SizeAsync(Digest digest, CancellationToken cancel) => bucket.SizeAsync(Key(digest), cancel);

    public Task<Stream?> OpenAsync(Digest digest, long offset, long length, CancellationToken cancel) =>
        bucket.OpenAsync(Key(digest), offset, length, cancel);

    public Uri? Link(Digest digest) => options.Redirect ? bucket.Link(Key(digest)) : null;

    public async Task<IBlobUpload> UploadAsync(string id, string algorithm, CancellationToken cancel)
    {
        Hold(id);
        try
        {
            var state = await TakeAsync(id, cancel);
            return new S3Upload(this, bucket, rows, id, algorithm, state, TakeIdle(id, algorithm, state));
        }
        catch
        {
            LetGo(id);
            throw;
        }
    }

    public Task<long?> UploadedAsync(string id, CancellationToken cancel) => Task.FromResult(rows.Size(id));

    public async Task DiscardAsync(string id, CancellationToken cancel)
    {
        Hold(id);
        try
        {
            if (await TakeAsync(id, cancel) is { } state)
            {
                await RemoveAsync(id, state, cancel);
            }
        }
        finally
        {
            LetGo(id);
        }
    }

    public async Task<int> DiscardAsync(DateTimeOffset before, CancellationToken cancel)
    {
        var discarded = 0;
        foreach (var id in rows.Before(before))
        {
            if (!_held.TryAdd(id, true))
            {
                continue;
            }

            try
            {
                if (await rows.TakeAsync(id, cancel) is { } state)
                {
                    await RemoveAsync(id, state, cancel);
                    discarded++;
                }
            }
            finally
            {
                LetGo(id);
            }
        }

        await SweepAsync(before, cancel);
        return discarded;
    }

    public Task PutAsync(IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> blobs, CancellationToken cancel) =>
        Parallel.ForEachAsync(
            blobs,
            new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = cancel },
            async (blob, stop) => await bucket.PutAsync(Key(blob.Digest), blob.Bytes, stop)
        );

    public async IAsyncEnumerable<(Digest Digest, long Size)> ListAsync(
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        await foreach (var (key, _, size) in bucket.ListAsync("blobs/", cancel))
        {
            // What has another key is no blob of this store.
            if (
                key.Split('/') is [_, var algorithm, _, var encoded]
                && Digest.TryParse($"{algorithm}:{encoded}", out var digest)
                && Key(digest) == key
            )
            {
                yield return (digest, size);
            }
        }
    }

    public Task DeleteAsync(Digest digest, CancellationToken cancel) => bucket.DeleteAsync(Key(digest), cancel);

    public void Dispose()
    {
        ClearIdle();
        bucket.Dispose();
    }

    /// <summary>The key of a blob.</summary>
    internal static string Key(Digest digest) => $"blobs/{digest.Algorithm}/{digest.Encoded[..2]}/{digest.Encoded}";

    /// <summary>The key of some bytes of an upload: no two requests ever write the same.</summary>
    internal static string Key(string upload, int ordinal, long fence) => $"{Uploads}{upload}/{ordinal:D5}-{fence}";

    /// <summary>Forgets an upload, and deletes its objects; those that cannot be deleted now are swept later.</summary>
    internal async Task RemoveAsync(string id, StagedState state, CancellationToken cancel)
    {
        await rows.RemoveAsync(id, state.Fence, cancel);
        await DeleteAsync(state.Parts, cancel);
    }

    /// <summary>Deletes objects that no row names any more.</summary>
    internal Task DeleteAsync(IEnumerable<StagedPart> parts, CancellationToken cancel) =>
        Parallel.ForEachAsync(
            parts,
            new ParallelOptions { MaxDegreeOfParallelism = 4, CancellationToken = cancel },
            async (part, stop) =>
            {
                try
                {
                    await bucket.DeleteAsync(part.Key, stop);
                }
                catch (OciException)
                {
                    // It is logged, and swept with the next expiry.
                }
            }
        );

    /// <summary>Called by an upload that its request lets go of, with the state of its hash where another request may use it.</summary>
    internal void Released(string id, IdleHash? hash)
    {
        if (hash is not null)
        {
            if (_idle.Count >= MaxIdle)
            {
                ClearIdle();
            }

            _idle[id] = hash;
        }

        LetGo(id);
    }

    private void Hold(string id)
    {
        if (!_held.TryAdd(id, true))
        {
            throw StagedUploads.Lost();
        }
    }

    private void LetGo(string id) => _held.TryRemove(id, out _);

    // Null where nothing is stored. Waits for a server that may be dead, so that its clients can go on.
    private async Task<StagedState?> TakeAsync(string id, CancellationToken cancel)
    {
        if (rows.Size(id) is null)
        {
            return null;
        }

        var until = time.GetUtcNow() + TakeOver;
        while (true)
        {
            if (await rows.TakeAsync(id, cancel) is { } state)
            {
                if (state.Commit is { } commit)
                {
                    await bucket.AbandonAsync(commit.Key, commit.Multipart, cancel);
                }

                return state;
            }

            if (rows.Size(id) is null || time.GetUtcNow() >= until)
            {
                throw StagedUploads.Lost();
            }

            await Task.Delay(Retry, time, cancel);
        }
    }

    private IdleHash? TakeIdle(string id, string algorithm, StagedState? state)
    {
        if (!_idle.TryRemove(id, out var idle))
        {
            return null;
        }

        // Nobody had the upload in between.
        if (state is not null && idle.Fence == state.Fence - 1 && idle.Algorithm == algorithm)
        {
            return idle;
        }

        idle.Dispose();
        return null;
    }

    private void ClearIdle()
    {
        foreach (var id in _idle.Keys)
        {
            if (_idle.TryRemove(id, out var idle))
            {
                idle.Dispose();
            }
        }
    }

    // What a server wrote that was killed before it could say so, or that was not deleted when it should have been.
    private async Task SweepAsync(DateTimeOffset before, CancellationToken cancel)
    {
        await foreach (var (key, modified, _) in bucket.ListAsync(Uploads, cancel))
        {
            if (modified < before && key.Split('/') is [_, var id, _] && !rows.Has(id, key))
            {
                await bucket.DeleteAsync(key, cancel);
            }
        }
    }
}

/// <summary>The state of a hash between two requests to an upload.</summary>
/// <param name="Fence">Of the request that left it.</param>
internal sealed record IdleHash(long Fence, string Algorithm, IncrementalHash Hash) : IDisposable
{
    public void Dispose() => Hash.Dispose();
}
