using Kiln.Oci;

namespace Kiln.Server.Storage;

/// <summary>
/// Where blob bytes live. Its contract knows no paths and no renames, so that an object store can implement it.
/// A blob that <see cref="OpenAsync"/> finds is whole, verified and durable.
/// </summary>
internal interface IBlobStore
{
    /// <summary>The size in bytes, or null where the store does not have the blob.</summary>
    Task<long?> SizeAsync(Digest digest, CancellationToken cancel);

    /// <summary>Opens a blob for reading from <paramref name="offset"/>; null where the store does not have it.</summary>
    Task<Stream?> OpenAsync(Digest digest, long offset, CancellationToken cancel) =>
        OpenAsync(digest, offset, long.MaxValue, cancel);

    /// <summary>
    /// As <see cref="OpenAsync(Digest, long, CancellationToken)"/>, for who reads <paramref name="length"/> bytes at most.
    /// The stream may hold more than those, and ends with the blob at the latest.
    /// </summary>
    Task<Stream?> OpenAsync(Digest digest, long offset, long length, CancellationToken cancel);

    /// <summary>
    /// An address from which whoever has it can read this blob, and nothing else, for some minutes, without credentials;
    /// null where the store gives none. The blob has to be there.
    /// </summary>
    Uri? Link(Digest digest) => null;

    /// <summary>
    /// Starts or resumes the upload <paramref name="id"/>, which belongs to the caller until it is disposed, whichever
    /// server wrote to it last. The state of a hash is never stored: where this process does not have it any more, what is
    /// stored is hashed again.
    /// </summary>
    /// <exception cref="OciException">Another request has this upload (409).</exception>
    Task<IBlobUpload> UploadAsync(string id, string algorithm, CancellationToken cancel);

    /// <summary>The bytes stored so far for an upload, without taking it; null where nothing is stored.</summary>
    Task<long?> UploadedAsync(string id, CancellationToken cancel);

    /// <summary>Throws away what an upload stored. Nothing happens where there is none.</summary>
    /// <exception cref="OciException">Another request has this upload (409).</exception>
    Task DiscardAsync(string id, CancellationToken cancel);

    /// <summary>Throws away every upload that nobody has and that was last written before <paramref name="before"/>.</summary>
    /// <returns>How many.</returns>
    Task<int> DiscardAsync(DateTimeOffset before, CancellationToken cancel);

    /// <summary>
    /// Stores small blobs, all of them durable when it returns, at less cost than an upload for each. What is there already
    /// is not written again.
    /// </summary>
    async Task PutAsync(IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> blobs, CancellationToken cancel)
    {
        foreach (var (digest, bytes) in blobs)
        {
            if (await SizeAsync(digest, cancel) != bytes.Length)
            {
                await using var upload = await UploadAsync(Guid.NewGuid().ToString("n"), digest.Algorithm, cancel);
                await upload.AppendAsync(bytes, cancel);
                await upload.CommitAsync(cancel);
            }
        }
    }

    /// <summary>Every blob that is there, with its size in bytes, in no order; without its bytes being read.</summary>
    IAsyncEnumerable<(Digest Digest, long Size)> ListAsync(CancellationToken cancel);

    /// <summary>Deletes a blob's bytes. Only garbage collection may.</summary>
    Task DeleteAsync(Digest digest, CancellationToken cancel);
}

/// <summary>
/// One upload in the hands of one request at a time. Disposing it keeps the bytes for a later request, or throws where
/// that is not possible; <see cref="CommitAsync"/> makes them a blob.
/// </summary>
internal interface IBlobUpload : IAsyncDisposable
{
    /// <summary>Bytes stored so far.</summary>
    long Length { get; }

    /// <summary>The digest of the bytes so far. Reads what is stored where another server wrote it.</summary>
    ValueTask<Digest> DigestAsync(CancellationToken cancel);

    Task AppendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel);

    /// <summary>Undoes every append since the upload was taken.</summary>
    void RollBack();

    /// <summary>Makes the bytes durable under their digest; the upload is then gone.</summary>
    Task<Digest> CommitAsync(CancellationToken cancel);
}
