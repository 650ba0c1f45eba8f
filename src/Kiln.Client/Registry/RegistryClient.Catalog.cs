using System.Net;
using System.Text.Json;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Registry;

public sealed partial class RegistryClient
{
    /// <summary>
    /// All repositories of a registry that it lists for this login. Not in the distribution-spec; many registries have it,
    /// Docker Hub has not.
    /// </summary>
    public async Task<IReadOnlyList<RepositoryName>> ListRepositoriesAsync(string host, CancellationToken cancel)
    {
        var names = new List<RepositoryName>();
        var call = new Call
        {
            Method = HttpMethod.Get,
            Target = "/v2/_catalog?n=1000",
            Host = host,
            Action = $"listing the repositories of {host}",
        };
        await foreach (var page in ListPages.ReadAsync(_transport, call, cancel))
        {
            names.AddRange(Names(page.Body, page.Action));
        }

        return names;
    }

    /// <summary>
    /// Deletes a tag.
    /// </summary>
    /// <returns>False where it was not there.</returns>
    public async Task<bool> DeleteTagAsync(RemoteRepository repository, Tag tag, CancellationToken cancel)
    {
        var call = CallOf(
            repository,
            HttpMethod.Delete,
            $"/v2/{repository.Name}/manifests/{tag}",
            $"deleting {repository}:{tag}"
        ) with
        {
            Rights = "pull,delete",
            Expected = [404],
        };
        using var response = await _transport.SendAsync(call, cancel);
        return response.StatusCode != HttpStatusCode.NotFound;
    }

    private static IEnumerable<RepositoryName> Names(byte[] body, string action)
    {
        try
        {
            return
            [
                .. (JsonSerializer.Deserialize(body, OciJson.Default.RepositoryList)?.Repositories ?? [])
                    .Select(name => RepositoryName.TryParse(name, out var parsed) ? parsed : null)
                    .OfType<RepositoryName>(),
            ];
        }
        catch (JsonException e)
        {
            throw new RegistryException(RegistryFault.Broken, action, "the answer is not a list of repositories", e);
        }
    }
}
