using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Kiln.Oci;

namespace Kiln.Server.Storage.FileSystem;

/// <summary>
/// Blobs as files: <c>blobs/ALGORITHM/AB/ABCD…</c>, uploads under way as <c>uploads/ID</c> beside them on the same file
/// system. A blob comes to be by rename, after its bytes were flushed; its directory is flushed after that. So a crash
/// leaves a whole blob or none.
/// </summary>
internal sealed class FileSystemBlobStore(DataDirectory directory) : IBlobStore, IDisposable
{
    // Hash states of uploads between two requests are kept up to this number; beyond it, stored bytes are hashed again.
    private const int MaxIdle = 1024;

    private readonly ConcurrentDictionary<string, FileUpload> _uploads = new(StringComparer.Ordinal);

    public Task<long?> SizeAsync(Digest digest, CancellationToken cancel)
    {
        var file = new FileInfo(BlobPath(digest));
        return Task.FromResult(file.Exists ? file.Length : (long?)null);
    }

    public Task<Stream?> OpenAsync(Digest digest, long offset, long length, CancellationToken cancel)
    {
        try
        {
            return Task.FromResult<Stream?>(new BlobFile(BlobPath(digest), offset));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return Task.FromResult<Stream?>(null);
        }
    }

    public async Task<IBlobUpload> UploadAsync(string id, string algorithm, CancellationToken cancel)
    {
        var upload = Take(id);
        try
        {
            await upload.OpenAsync(algorithm, cancel);
            return upload;
        }
        catch
        {
            await upload.DisposeAsync();
            throw;
        }
    }

    public Task<long?> UploadedAsync(string id, CancellationToken cancel)
    {
        var file = new FileInfo(UploadPath(id));
        return Task.FromResult(file.Exists ? file.Length : (long?)null);
    }

    public Task DiscardAsync(string id, CancellationToken cancel)
    {
        var upload = Take(id);
        File.Delete(UploadPath(id));
        upload.Finish();
        return Task.CompletedTask;
    }

    public Task<int> DiscardAsync(DateTimeOffset before, CancellationToken cancel)
    {
        var discarded = 0;
        foreach (var file in new DirectoryInfo(directory.Uploads).EnumerateFiles())
        {
            cancel.ThrowIfCancellationRequested();
            if (file.LastWriteTimeUtc < before.UtcDateTime && TryTake(file.Name) is { } upload)
            {
                file.Delete();
                upload.Finish();
                discarded++;
            }
        }

        return Task.FromResult(discarded);
    }

    public Task PutAsync(IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> blobs, CancellationToken cancel) =>
        Task.Run(() => SmallBlobs.Put(directory, blobs, BlobPath), cancel);

    public async IAsyncEnumerable<(Digest Digest, long Size)> ListAsync(
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        await Task.CompletedTask;
        foreach (var algorithm in new DirectoryInfo(directory.Blobs).EnumerateDirectories())
        {
            foreach (var file in algorithm.EnumerateFiles("*", SearchOption.AllDirectories))
            {
                cancel.ThrowIfCancellationRequested();
                // What has another name is no blob of this store.
                if (
                    Digest.TryParse($"{algorithm.Name}:{file.Name}", out var digest)
                    && file.FullName == BlobPath(digest)
                )
                {
                    yield return (digest, file.Length);
                }
            }
        }
    }

    public Task DeleteAsync(Digest digest, CancellationToken cancel)
    {
        var path = BlobPath(digest);
        if (File.Exists(path))
        {
            File.Delete(path);
            directory.Disk.FlushDirectory(Path.GetDirectoryName(path)!);
        }

        return Task.CompletedTask;
    }

    public void Dispose()
    {
        foreach (var upload in _uploads.Values)
        {
            upload.Forget();
        }
    }

    /// <summary>Where a blob is or will be.</summary>
    public string BlobPath(Digest digest) =>
        Path.Combine(directory.Blobs, digest.Algorithm, digest.Encoded[..2], digest.Encoded);

    /// <summary>Called by an upload that its request lets go of.</summary>
    internal void Released(FileUpload upload)
    {
        if (upload.IsGone || _uploads.Count > MaxIdle)
        {
            _uploads.TryRemove(KeyValuePair.Create(upload.Id, upload));
            upload.Forget();
        }
    }

    private FileUpload Take(string id) =>
        TryTake(id)
        ?? throw new OciException(
            ErrorCodes.BlobUploadBusy,
            "another request is writing to this upload; wait for its end, then ask the upload for its range"
        );

    private FileUpload? TryTake(string id)
    {
        while (true)
        {
            var upload = _uploads.GetOrAdd(id, key => new FileUpload(this, directory.Disk, key, UploadPath(key)));
            if (upload.TryTake())
            {
                return upload;
            }

            if (!upload.IsGone)
            {
                return null;
            }

            _uploads.TryRemove(KeyValuePair.Create(id, upload));
        }
    }

    private string UploadPath(string id)
    {
        Debug.Assert(id.All(char.IsAsciiLetterOrDigit), "ids come from this server, never from a path");
        return Path.Combine(directory.Uploads, id);
    }
}
