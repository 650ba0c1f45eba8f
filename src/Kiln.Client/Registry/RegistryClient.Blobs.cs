using System.Net;
using System.Net.Http.Headers;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Registry;

public sealed partial class RegistryClient
{
    // Below this a blob travels with the request that opens its upload: one round trip, not two.
    private const long MonolithicBytes = 1 << 20;

    /// <summary>The size of a blob in bytes, or null where the repository does not have it.</summary>
    public async Task<long?> FindBlobAsync(RemoteRepository repository, Digest digest, CancellationToken cancel)
    {
        var call = CallOf(
            repository,
            HttpMethod.Head,
            $"/v2/{repository.Name}/blobs/{digest}",
            $"looking for blob {digest} in {repository}"
        ) with
        {
            Expected = [404],
        };
        using var response = await _transport.SendAsync(call, cancel);
        return response.StatusCode == HttpStatusCode.NotFound ? null : response.Content.Headers.ContentLength ?? 0;
    }

    /// <summary>
    /// Opens a blob from <paramref name="offset"/> on. What comes is not verified here; use
    /// <see cref="DownloadBlobAsync"/> or hash it. Read it asynchronously; silence ends in an <see cref="IOException"/>.
    /// </summary>
    public async Task<Stream> OpenBlobAsync(
        RemoteRepository repository,
        Digest digest,
        CancellationToken cancel,
        long offset = 0
    )
    {
        var call = CallOf(
            repository,
            HttpMethod.Get,
            $"/v2/{repository.Name}/blobs/{digest}",
            $"getting blob {digest} of {repository}"
        ) with
        {
            Headers = offset == 0 ? [] : [("Range", $"bytes={offset}-")],
        };
        var response = await _transport.SendAsync(call, cancel);
        var body = await _transport.OpenBodyAsync(response, cancel);
        if (offset > 0 && response.StatusCode != HttpStatusCode.PartialContent)
        {
            // No ranges here: what was had already comes again, and is passed over.
            try
            {
                await BlobFile.SkipAsync(body, offset, cancel);
            }
            catch (IOException e)
            {
                await body.DisposeAsync();
                throw new RegistryException(RegistryFault.Unreachable, call.Action, e.Message, e) { Host = call.Host };
            }
        }

        return body;
    }

    /// <summary>
    /// Downloads a blob to <paramref name="path"/>: to a temporary file beside it, verified while it comes, flushed,
    /// renamed. Where the connection breaks it goes on from there. An existing file is replaced.
    /// </summary>
    /// <exception cref="RegistryException">Also where digest or size are not those of <paramref name="blob"/>.</exception>
    public Task DownloadBlobAsync(
        RemoteRepository repository,
        Descriptor blob,
        string path,
        CancellationToken cancel
    ) =>
        new BlobFile(blob, path, $"getting blob {blob.Digest} of {repository}").FillAsync(
            offset => OpenBlobAsync(repository, blob.Digest, cancel, offset),
            _transport.Options,
            cancel
        );

    /// <summary>
    /// Opens a blob whole, as a stream that goes on where the connection broke. It ends in a
    /// <see cref="RegistryException"/> where it is longer or shorter than announced; it is not hashed.
    /// </summary>
    public async Task<Stream> OpenWholeBlobAsync(
        RemoteRepository repository,
        Descriptor blob,
        CancellationToken cancel
    ) =>
        new ResumingBlob(
            blob,
            await OpenBlobAsync(repository, blob.Digest, cancel),
            (offset, token) => OpenBlobAsync(repository, blob.Digest, token, offset),
            _transport.Options,
            $"getting blob {blob.Digest} of {repository}"
        );

    /// <summary>Pushes a blob unless the repository has it.</summary>
    /// <param name="repository">Where to.</param>
    /// <param name="blob">Its digest and size, which the registry checks.</param>
    /// <param name="open">Opens the bytes; called once for each try.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>False where it was there already.</returns>
    public Task<bool> PushBlobAsync(
        RemoteRepository repository,
        Descriptor blob,
        Func<Stream> open,
        CancellationToken cancel
    ) => PushBlobAsync(repository, blob, _ => Task.FromResult(open()), mountFrom: null, cancel);

    /// <summary>
    /// Pushes a blob unless the repository has it, or can have it from another one of the same registry
    /// (distribution-spec, "Mounting a blob from another repository").
    /// </summary>
    /// <returns>False where nothing was sent.</returns>
    public async Task<bool> PushBlobAsync(
        RemoteRepository repository,
        Descriptor blob,
        Func<CancellationToken, Task<Stream>> open,
        RepositoryName? mountFrom,
        CancellationToken cancel
    )
    {
        if (await FindBlobAsync(repository, blob.Digest, cancel) is not null)
        {
            return false;
        }

        // An upload that broke is begun anew as a whole: its session may be gone.
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await UploadAsync(repository, blob, open, mountFrom, cancel);
            }
            catch (RegistryException e)
                when (e.Fault is RegistryFault.Unreachable or RegistryFault.Unavailable
                    && attempt < _transport.Options.Attempts
                )
            {
                await Task.Delay(_transport.Options.FirstPause * attempt, _transport.Options.Time, cancel);
            }
        }
    }

    // False where the registry had the bytes elsewhere.
    private async Task<bool> UploadAsync(
        RemoteRepository repository,
        Descriptor blob,
        Func<CancellationToken, Task<Stream>> open,
        RepositoryName? mountFrom,
        CancellationToken cancel
    )
    {
        var small = blob.Size <= MonolithicBytes && mountFrom is null;
        var query =
            mountFrom is not null ? $"?mount={Escaped(blob)}&from={Uri.EscapeDataString(mountFrom.Value)}"
            : small ? $"?digest={Escaped(blob)}"
            : "";
        HttpContent Body(Action moved) => new BlobContent(open, blob.Size, moved);
        var begin = CallOf(
            repository,
            HttpMethod.Post,
            $"/v2/{repository.Name}/blobs/uploads/{query}",
            $"pushing blob {blob.Digest} to {repository}"
        ) with
        {
            Rights = "pull,push",
            Content = small ? Body : _ => Empty(),
        };
        string location;
        using (var begun = await _transport.SendAsync(begin, cancel))
        {
            // 202 to a monolithic POST: this registry wants the two steps (distribution-spec, "Single POST"); to a mount:
            // it does not have the blob there, or does not let us have it.
            if (begun.StatusCode == HttpStatusCode.Created)
            {
                return mountFrom is null;
            }

            location = _transport.TargetOf(
                begun.Headers.Location?.OriginalString
                    ?? throw new RegistryException(RegistryFault.Broken, begin.Action, "the upload has no Location")
            );
        }

        var put = begin with
        {
            Method = HttpMethod.Put,
            Target =
                $"{location}{(location.Contains('?', StringComparison.Ordinal) ? '&' : '?')}digest={Escaped(blob)}",
            Content = Body,
            // The session is used up by a try that broke; PushBlobAsync begins another.
            Repeatable = false,
        };
        using var done = await _transport.SendAsync(put, cancel);
        return true;
    }

    private static string Escaped(Descriptor blob) => Uri.EscapeDataString(blob.Digest.ToString());

    private static ByteArrayContent Empty() =>
        new([]) { Headers = { ContentType = new MediaTypeHeaderValue(MediaTypes.OctetStream) } };
}
