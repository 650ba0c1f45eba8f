using System.Collections.Concurrent;
using System.Security.Cryptography;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Tests.Client;

/// <summary>
/// A registry on a free loopback port whose every answer a test can take over: what real registries do wrong, and do
/// differently from each other, cannot be asked of a real one.
/// </summary>
public sealed class TestRegistry : IAsyncDisposable
{
    private readonly WebApplication _app;

    private TestRegistry(WebApplication app) => _app = app;

    public ConcurrentDictionary<string, byte[]> Blobs { get; } = new();
    public ConcurrentDictionary<string, (string Type, byte[] Bytes)> Manifests { get; } = new();
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>Called first for each request; true where it gave the answer.</summary>
    public Func<HttpContext, Task<bool>> Intercept { get; set; } = _ => Task.FromResult(false);
    public string Host => new Uri(_app.Urls.First()).Authority;

    public static async Task<TestRegistry> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var registry = new TestRegistry(builder.Build());
        registry._app.Run(registry.AnswerAsync);
        await registry._app.StartAsync();
        return registry;
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    public RegistryClient Client(Func<RegistryClientOptions, RegistryClientOptions>? change = null)
    {
        var options = new RegistryClientOptions { FirstPause = TimeSpan.FromMilliseconds(1) };
        return new RegistryClient(change?.Invoke(options) ?? options);
    }

    public Reference Reference(string nameAndTag) =>
        Kiln.Oci.Reference.TryParse($"{Host}/{nameAndTag}", out var reference)
            ? reference
            : throw new ArgumentException(nameAndTag);

    public RemoteRepository Repository(string name) => new(Host, RepositoryName.Parse(name));

    public Descriptor AddBlob(byte[] bytes, string mediaType = MediaTypes.OciLayerGzip)
    {
        var digest = Digest.Of(bytes);
        Blobs[digest.ToString()] = bytes;
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = bytes.Length,
        };
    }

    public Digest AddManifest(string tag, string mediaType, byte[] bytes)
    {
        var digest = Digest.Of(bytes);
        Manifests[tag] = (mediaType, bytes);
        Manifests[digest.ToString()] = (mediaType, bytes);
        return digest;
    }

    public static byte[] Random(int length) => RandomNumberGenerator.GetBytes(length);

    private async Task AnswerAsync(HttpContext http)
    {
        Requests.Enqueue($"{http.Request.Method} {http.Request.Path}{http.Request.QueryString}");
        if (await Intercept(http))
        {
            return;
        }

        var path = http.Request.Path.Value!;
        if (path == "/v2/")
        {
            return;
        }

        if (path.Contains("/blobs/uploads/", StringComparison.Ordinal))
        {
            await UploadAsync(http);
        }
        else if (path.Contains("/blobs/", StringComparison.Ordinal))
        {
            await BlobAsync(http, path[(path.LastIndexOf('/') + 1)..]);
        }
        else if (path.Contains("/manifests/", StringComparison.Ordinal))
        {
            await ManifestAsync(http, path[(path.LastIndexOf('/') + 1)..]);
        }
        else
        {
            http.Response.StatusCode = 404;
        }
    }

    private async Task UploadAsync(HttpContext http)
    {
        var digest = http.Request.Query["digest"].ToString();
        if (digest.Length == 0)
        {
            http.Response.StatusCode = 202;
            http.Response.Headers.Location = $"{http.Request.Path}session?state=x";
            return;
        }

        using var bytes = new MemoryStream();
        await http.Request.Body.CopyToAsync(bytes);
        Blobs[digest] = bytes.ToArray();
        http.Response.StatusCode = 201;
    }

    private async Task BlobAsync(HttpContext http, string digest)
    {
        if (!Blobs.TryGetValue(digest, out var bytes))
        {
            http.Response.StatusCode = 404;
            return;
        }

        await Results.Bytes(bytes, MediaTypes.OctetStream, enableRangeProcessing: true).ExecuteAsync(http);
    }

    private async Task ManifestAsync(HttpContext http, string name)
    {
        if (http.Request.Method == "PUT")
        {
            using var bytes = new MemoryStream();
            await http.Request.Body.CopyToAsync(bytes);
            AddManifest(name, http.Request.ContentType!, bytes.ToArray());
            http.Response.StatusCode = 201;
            return;
        }

        if (!Manifests.TryGetValue(name, out var manifest))
        {
            http.Response.StatusCode = 404;
            await http.Response.WriteAsync("""{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such manifest"}]}""");
            return;
        }

        http.Response.ContentType = manifest.Type;
        await http.Response.Body.WriteAsync(manifest.Bytes);
    }
}
