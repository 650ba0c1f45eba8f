using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Registry;

/// <summary>
/// A client of any OCI registry (distribution-spec 1.1). One instance serves any number of registries and callers.
/// Every method throws <see cref="RegistryException"/> where the registry cannot be reached or refuses.
/// </summary>
public sealed partial class RegistryClient : IDisposable
{
    /// <summary>The largest manifest that is read, in bytes.</summary>
    public const int MaxManifestBytes = 8 << 20;

    private readonly RegistryTransport _transport;

    public RegistryClient(RegistryClientOptions options) => _transport = new RegistryTransport(options);

    internal RegistryTransport Transport => _transport;

    public void Dispose() => _transport.Dispose();

    /// <summary>Asks whether there is a registry, and logs in where it wants that (<c>GET /v2/</c>).</summary>
    public async Task PingAsync(string host, CancellationToken cancel)
    {
        var call = new Call
        {
            Method = HttpMethod.Get,
            Target = "/v2/",
            Host = host,
            Action = $"looking for a registry at {host}",
        };
        using var response = await _transport.SendAsync(call, cancel);
    }

    /// <summary>All tags of a repository, in the registry's order.</summary>
    public async Task<IReadOnlyList<string>> ListTagsAsync(RemoteRepository repository, CancellationToken cancel)
    {
        var tags = new List<string>();
        var call = CallOf(
            repository,
            HttpMethod.Get,
            $"/v2/{repository.Name}/tags/list",
            $"listing the tags of {repository}"
        );
        await foreach (var page in ListPages.ReadAsync(_transport, call, cancel))
        {
            tags.AddRange(TagList.Read(page.Body, page.Action));
        }

        return tags;
    }

    private static Call CallOf(RemoteRepository repository, HttpMethod method, string target, string action) =>
        new()
        {
            Method = method,
            Target = target,
            Host = repository.Host,
            Repository = repository.Name,
            Action = action,
        };
}
