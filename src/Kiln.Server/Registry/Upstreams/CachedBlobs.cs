using System.Collections.Concurrent;
using Kiln.Client;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// Brings blobs of upstreams into this registry when they are wanted: once, however many want them, and whether or not
/// they stay to the end. Those who wait read what has come so far.
/// </summary>
internal sealed partial class CachedBlobs(
    Blobs blobs,
    Uploads uploads,
    Database database,
    DataDirectory directory,
    ServerOptions options,
    TimeProvider time,
    ILogger<CachedBlobs> log
) : IAsyncDisposable
{
    private const int MaxAbsent = 10_000;
    private static readonly TimeSpan FullRest = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<string, BlobFetch> _fetches = new(StringComparer.Ordinal);
    private readonly Remembered<long?> _sizes = new(time, MaxAbsent);
    private readonly RememberedFailures _failed = new(time);
    private readonly CancellationTokenSource _stop = new();
    private int _count;

    /// <summary>Blobs that are on their way here, or wait for their turn.</summary>
    public int Fetches => Volatile.Read(ref _count);

    /// <summary>The size of a blob that is not here, in bytes; null where the upstream does not have it.</summary>
    /// <exception cref="OciException">The upstream has no answer that can be used.</exception>
    public async Task<long?> SizeAsync(
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        CancellationToken cancel
    )
    {
        Require(upstream, repository, digest);
        var key = $"{repository}@{digest}";
        if (_sizes.TryGet(key, out var known))
        {
            return known;
        }

        try
        {
            _failed.Throw(key);
            var size = await upstream.AskAsync(
                repository,
                (client, there, limited) => client.FindBlobAsync(there, digest, limited),
                cancel
            );
            _sizes.Keep(key, size, upstream.Options.AbsenceAge);
            return size;
        }
        catch (RegistryException e)
        {
            throw UpstreamErrors.Of(upstream, repository, e);
        }
    }

    /// <summary>
    /// A blob that is not here, as it comes; null where the upstream does not have it, or where it has come to be here
    /// meanwhile. Dispose it.
    /// </summary>
    /// <exception cref="OciException">The upstream has no answer that can be used.</exception>
    public async Task<BlobReader?> OpenAsync(
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        CancellationToken cancel
    )
    {
        Require(upstream, repository, digest);
        var key = $"{repository}@{digest}";
        if (_sizes.TryGet(key, out var known) && known is null)
        {
            return null;
        }

        try
        {
            _failed.Throw(key);
        }
        catch (RegistryException e)
        {
            throw UpstreamErrors.Of(upstream, repository, e);
        }

        var (fetch, reader) = Join(upstream, repository, digest, key);
        try
        {
            if (await fetch.Started.WaitAsync(cancel))
            {
                return reader;
            }

            await reader.DisposeAsync();
            return null;
        }
        catch
        {
            await reader.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_fetches.Values.Select(fetch => fetch.Work));
        _stop.Dispose();
    }

    private static void Require(Upstream upstream, RepositoryName repository, Digest digest)
    {
        upstream.RequireAllowed(repository);
        if (upstream.Options.Offline == OfflinePolicy.Always)
        {
            throw new OciException(
                ErrorCodes.BlobUnknown,
                $"{digest} of {repository} is not cached, and this registry is configured never to ask {upstream.Host}"
            );
        }
    }

    private (BlobFetch Fetch, BlobReader Reader) Join(
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        string key
    )
    {
        while (true)
        {
            if (_fetches.TryGetValue(key, out var known))
            {
                if (known.TryJoin() is { } reader)
                {
                    return (known, reader);
                }

                // One that is just over is no longer among them a moment later.
                Thread.Yield();
            }
            else if (TryBegin(upstream, repository, digest, key) is { } begun)
            {
                return begun;
            }
        }
    }

    // Null where somebody else was faster.
    private (BlobFetch Fetch, BlobReader Reader)? TryBegin(
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        string key
    )
    {
        if (Interlocked.Increment(ref _count) > options.MaxUpstreamFetches)
        {
            Interlocked.Decrement(ref _count);
            throw new OciException(
                new OciError(
                    ErrorCodes.TooManyRequests,
                    $"{options.MaxUpstreamFetches} blobs are on their way here from other registries, which is the limit; "
                        + "try again in a moment"
                )
                {
                    RetryAfter = FullRest,
                }
            );
        }

        var fetch = new BlobFetch(directory.Uploads);
        if (!_fetches.TryAdd(key, fetch))
        {
            Interlocked.Decrement(ref _count);
            return null;
        }

        BlobReader? reader = null;
        try
        {
            reader = fetch.TryJoin()!;
            return (fetch, reader);
        }
        finally
        {
            // Also where no file could be made for it: whoever has joined meanwhile is told by its end.
            fetch.Work = Task.Run(() => RunAsync(fetch, upstream, repository, digest, key), CancellationToken.None);
        }
    }

    private async Task RunAsync(
        BlobFetch fetch,
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        string key
    )
    {
        try
        {
            await upstream.Fetches.WaitAsync(_stop.Token);
            try
            {
                await FetchAsync(fetch, upstream, repository, digest, key);
            }
            finally
            {
                upstream.Fetches.Release();
            }
        }
        catch (RegistryException e)
        {
            LogFailed(log, repository, digest, e.Message);
            _failed.Keep(key, e);
            fetch.Fail(UpstreamErrors.Of(upstream, repository, e));
        }
        catch (OciException e)
        {
            LogFailed(log, repository, digest, e.Message);
            fetch.Fail(e);
        }
        catch (Exception e)
        {
            LogFault(log, repository, digest, e);
            fetch.Fail(new OciException(ErrorCodes.Unavailable, "the fetch of this blob was ended; try again"));
        }
        finally
        {
            // Whoever comes now finds the blob in the repository, or begins anew.
            _fetches.TryRemove(key, out _);
            Interlocked.Decrement(ref _count);
            fetch.Dispose();
        }
    }

    private async Task FetchAsync(
        BlobFetch fetch,
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        string key
    )
    {
        using var late = new CancellationTokenSource(upstream.Options.FetchTime, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, _stop.Token);
        if (
            blobs.Size(repository, digest) is not null
            || await LendAsync(upstream, repository, digest, key, either.Token)
        )
        {
            fetch.StartNothing();
            return;
        }

        try
        {
            await using var body = await upstream.AskAsync(
                repository,
                async (client, there, limited) =>
                    new FetchBody(
                        fetch,
                        await client.GetBlobAsync(there, digest, limited),
                        (offset, cancel) => client.OpenBlobAsync(there, digest, cancel, offset),
                        $"getting blob {digest} of {there}",
                        time
                    ),
                either.Token
            );
            fetch.Start(body.Size);
            await uploads.PushAsync(repository, digest, body.Size, body, either.Token);
            fetch.Succeed();
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound && !fetch.Started.IsCompleted)
        {
            _sizes.Keep(key, null, upstream.Options.AbsenceAge);
            fetch.StartNothing();
        }
        catch (OciException e) when (e.Error.Code == ErrorCodes.DigestInvalid)
        {
            throw new RegistryException(RegistryFault.Broken, $"getting blob {digest}", e.Error.Message);
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested)
        {
            throw new RegistryException(
                RegistryFault.Unavailable,
                $"getting blob {digest}",
                $"the blob did not come within {upstream.Options.FetchTime}"
            );
        }
    }

    // What another repository of the same upstream brought need not come again, if the upstream says that it is in this
    // one too: nobody else's word counts, since bytes must not be had by a digest alone.
    private async Task<bool> LendAsync(
        Upstream upstream,
        RepositoryName repository,
        Digest digest,
        string key,
        CancellationToken cancel
    )
    {
        var lender = database.Read(c =>
            c.Scalar<string>(
                """
                SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository
                WHERE l.digest = @digest AND r.name > @from AND r.name < @to LIMIT 1
                """,
                ("digest", digest.ToString()),
                // Names that begin with the prefix and a slash, after which '0' is next in the order of bytes.
                ("from", upstream.Prefix + "/"),
                ("to", upstream.Prefix + "0")
            )
        );
        if (lender is null)
        {
            return false;
        }

        var size = await upstream.AskAsync(
            repository,
            (client, there, limited) => client.FindBlobAsync(there, digest, limited),
            cancel
        );
        if (size is null)
        {
            _sizes.Keep(key, null, upstream.Options.AbsenceAge);
            return true;
        }

        return await blobs.MountAsync(repository, digest, RepositoryName.Parse(lender), _ => true, cancel);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Repository}: the blob {Digest} could not be fetched: {Why}")]
    private static partial void LogFailed(ILogger log, RepositoryName repository, Digest digest, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Repository}: fetching the blob {Digest} met a fault")]
    private static partial void LogFault(ILogger log, RepositoryName repository, Digest digest, Exception e);
}
