using Kiln.Oci;
using Kiln.Server.Storage;
using Kiln.Server.Storage.FileSystem;

namespace Kiln.Tests.Storage;

/// <summary>A store of files whose disk refuses things, or does not say the same twice.</summary>
internal sealed class OddStore(DataDirectory directory) : IBlobStore, IDisposable
{
    private readonly FileSystemBlobStore _files = new(directory);

    private IBlobStore Files => _files;

    /// <summary>Called before each deletion; what it throws is what the disk says.</summary>
    public Action<Digest> Deleting { get; set; } = _ => { };

    /// <summary>What a reader gets in place of what is there.</summary>
    public Func<Digest, Stream?, Stream?> Reading { get; set; } = (_, stream) => stream;

    public Task DeleteAsync(Digest digest, CancellationToken cancel)
    {
        Deleting(digest);
        return Files.DeleteAsync(digest, cancel);
    }

    public async Task<Stream?> OpenAsync(Digest digest, long offset, long length, CancellationToken cancel) =>
        Reading(digest, await Files.OpenAsync(digest, offset, length, cancel));

    public Task<long?> SizeAsync(Digest digest, CancellationToken cancel) => Files.SizeAsync(digest, cancel);

    public Task<IBlobUpload> UploadAsync(string id, string algorithm, CancellationToken cancel) =>
        Files.UploadAsync(id, algorithm, cancel);

    public Task<long?> UploadedAsync(string id, CancellationToken cancel) => Files.UploadedAsync(id, cancel);

    public Task DiscardAsync(string id, CancellationToken cancel) => Files.DiscardAsync(id, cancel);

    public Task<int> DiscardAsync(DateTimeOffset before, CancellationToken cancel) =>
        Files.DiscardAsync(before, cancel);

    public Task PutAsync(IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> blobs, CancellationToken cancel) =>
        Files.PutAsync(blobs, cancel);

    public IAsyncEnumerable<(Digest Digest, long Size)> ListAsync(CancellationToken cancel) => Files.ListAsync(cancel);

    public void Dispose() => _files.Dispose();
}
