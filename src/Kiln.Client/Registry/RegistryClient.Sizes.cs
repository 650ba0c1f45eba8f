using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Registry;

/// <summary>A blob on its way from a registry.</summary>
/// <param name="Size">In bytes, as the registry announces it; null where it does not.</param>
/// <param name="Content">What comes; it is not verified. Read it asynchronously.</param>
public sealed record RemoteBlob(long? Size, Stream Content);

public sealed partial class RegistryClient
{
    /// <summary>Opens a blob whose size is not known yet. Silence ends in an <see cref="IOException"/>.</summary>
    public async Task<RemoteBlob> GetBlobAsync(RemoteRepository repository, Digest digest, CancellationToken cancel)
    {
        var call = CallOf(
            repository,
            HttpMethod.Get,
            $"/v2/{repository.Name}/blobs/{digest}",
            $"getting blob {digest} of {repository}"
        );
        var response = await _transport.SendAsync(call, cancel);
        var size = response.Content.Headers.ContentLength;
        return new RemoteBlob(size, await _transport.OpenBodyAsync(response, cancel));
    }
}
