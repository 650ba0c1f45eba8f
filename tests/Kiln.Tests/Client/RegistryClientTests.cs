using System.Text;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Client;

public sealed class RegistryClientTests
{
    private static readonly byte[] Manifest = Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"mediaType":"{{MediaTypes.OciManifest}}","config":{"mediaType":"x/y","digest":"{{Digest.EmptyJson}}","size":2},"layers":[]}"""
    );

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_tag_on_an_index_resolves_to_the_image_of_the_platform()
    {
        await using var registry = await TestRegistry.StartAsync();
        var image = registry.AddManifest("amd64", MediaTypes.OciManifest, Manifest);
        var index = registry.AddManifest(
            "1.0",
            MediaTypes.OciIndex,
            Index((image, "linux/amd64"), (Digest.EmptyJson, "unknown/unknown"))
        );
        using var client = registry.Client();

        var resolved = await client.ResolveAsync(registry.Reference("a/b:1.0"), Platform.LinuxAmd64, Cancel);

        Assert.Equal(image, resolved.Manifest.Digest);
        Assert.Equal(index, resolved.Index);
        Assert.Equal($"{registry.Host}/a/b:1.0@{image}", resolved.Reference.ToString());
    }

    [Fact]
    public async Task A_platform_that_is_not_offered_is_refused_with_those_that_are()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.AddManifest(
            "1.0",
            MediaTypes.OciIndex,
            Index((Digest.EmptyJson, "linux/arm64"), (Digest.EmptyJson, "unknown/unknown"))
        );
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            client.ResolveAsync(registry.Reference("a:1.0"), Platform.LinuxAmd64, Cancel)
        );

        Assert.EndsWith("it has no image for linux/amd64; it has linux/arm64", e.Message);
    }

    [Fact]
    public async Task A_manifest_that_is_not_what_its_digest_says_is_refused()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Manifests[Digest.EmptyJson.ToString()] = (MediaTypes.OciManifest, Manifest);
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            client.GetManifestAsync(registry.Reference($"a@{Digest.EmptyJson}"), Cancel)
        );

        Assert.Equal(RegistryFault.Broken, e.Fault);
    }

    [Fact]
    public async Task A_manifest_over_the_limit_is_not_read()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.AddManifest("big", MediaTypes.OciManifest, new byte[RegistryClient.MaxManifestBytes + 1]);
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            client.GetManifestAsync(registry.Reference("a:big"), Cancel)
        );

        Assert.Equal(RegistryFault.Broken, e.Fault);
    }

    [Fact]
    public async Task The_registrys_own_error_reaches_the_caller()
    {
        await using var registry = await TestRegistry.StartAsync();
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            client.GetManifestAsync(registry.Reference("a:none"), Cancel)
        );

        Assert.Equal(
            (RegistryFault.NotFound, 404, "MANIFEST_UNKNOWN", "no such manifest"),
            (e.Fault, e.Status, e.Code, e.Why)
        );
    }

    [Theory]
    [InlineData(429, true)]
    [InlineData(503, true)]
    [InlineData(500, true)]
    [InlineData(404, false)]
    [InlineData(403, false)]
    public async Task What_may_pass_is_tried_again_and_what_will_not_is_not(int status, bool again)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.AddManifest("1", MediaTypes.OciManifest, Manifest);
        registry.Intercept = http => AnswerAsync(http, registry.Requests.Count < 3 ? status : 0);
        using var client = registry.Client();

        var task = client.GetManifestAsync(registry.Reference("a:1"), Cancel);

        Assert.Equal(again, await Record.ExceptionAsync(() => task) is null);
        Assert.Equal(again ? 3 : 1, registry.Requests.Count);
    }

    [Fact]
    public async Task Trying_again_ends()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http => AnswerAsync(http, 503);
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() => client.PingAsync(registry.Host, Cancel));

        Assert.Equal(RegistryFault.Unavailable, e.Fault);
        Assert.Equal(5, registry.Requests.Count);
    }

    [Fact]
    public async Task Nobody_at_the_port_is_unreachable()
    {
        using var client = new RegistryClient(new RegistryClientOptions { FirstPause = TimeSpan.Zero });

        var e = await Assert.ThrowsAsync<RegistryException>(() => client.PingAsync("127.0.0.1:1", Cancel));

        Assert.Equal((RegistryFault.Unreachable, "127.0.0.1:1"), (e.Fault, e.Host));
    }

    [Fact]
    public async Task Tags_come_from_all_pages()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = async http =>
        {
            var last = http.Request.Query["last"].ToString();
            http.Response.Headers.Link = last.Length == 0 ? """</v2/a/tags/list?last=two>; rel="next" """ : "";
            await http.Response.WriteAsync(last.Length == 0 ? """{"tags":["one","two"]}""" : """{"tags":["three"]}""");
            return true;
        };
        using var client = registry.Client();

        Assert.Equal(["one", "two", "three"], await client.ListTagsAsync(registry.Repository("a"), Cancel));
    }

    [Fact]
    public async Task A_pushed_manifest_brings_back_links_and_warnings()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            http.Response.StatusCode = 201;
            http.Response.Headers.Link = """</v2/a/_build/v1/jobs/j1>; rel="status"; type="x/y" """;
            http.Response.Headers["Warning"] = """299 - "build j1 queued for \"a:1\"; see it" """;
            return Task.FromResult(true);
        };
        using var client = registry.Client();

        var pushed = await client.PushManifestAsync(
            registry.Reference("a:1"),
            MediaTypes.OciManifest,
            Manifest,
            Cancel
        );

        Assert.Equal("/v2/a/_build/v1/jobs/j1", pushed.Links["status"]);
        Assert.Equal(["build j1 queued for \"a:1\"; see it"], pushed.Warnings);
        Assert.Equal(Digest.Of(Manifest), pushed.Digest);
    }

    private static async Task<bool> AnswerAsync(HttpContext http, int status)
    {
        if (status != 0)
        {
            http.Response.StatusCode = status;
            http.Response.Headers.RetryAfter = "0";
            await http.Response.WriteAsync("<html>no OCI error</html>");
        }

        return status != 0;
    }

    private static byte[] Index(params (Digest Digest, string Platform)[] entries) =>
        System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(
            new ImageIndex
            {
                Manifests =
                [
                    .. entries.Select(e => new Descriptor
                    {
                        MediaType = MediaTypes.OciManifest,
                        Digest = e.Digest,
                        Size = 2,
                        Platform = Platform.TryParse(e.Platform, out var platform) ? platform : null,
                    }),
                ],
            },
            OciJson.Default.ImageIndex
        );
}
