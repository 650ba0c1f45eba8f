using System.Net;
using Kiln.Cli;
using Kiln.Oci;
using Kiln.Server;
using Kiln.TestPrograms;
using Kiln.Tests.Registry;
using Kiln.Tests.Registry.Upstreams;

namespace Kiln.Tests.Cli;

/// <summary><c>kiln mirror</c> from a real other registry.</summary>
public sealed class MirrorTests : IAsyncLifetime
{
    private readonly DockerRegistry _registry = ThroughServer.RequireRegistry();
    private HttpClient _there = null!;
    private TestServer? _server;

    private TestServer Server => _server!;
    private string Host => new Uri(Server.Url).Authority;

    public async ValueTask InitializeAsync()
    {
        _there = ThroughServer.ClientOf(_registry.Host);
        _server = await TestServer.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        _there.Dispose();
        _registry.Dispose();
    }

    private static async Task<(int Code, string Out, string Error)> MirrorAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var shell = TestShell.Create(output, error);
        var code = await CommandLine.RunAsync(["mirror", .. arguments], shell);
        return (code, output.ToString(), error.ToString());
    }

    private async Task<byte[]> PushAsync(string name, string tag)
    {
        var layer = Samples.Bytes(1000);
        await _there.PushBlobAsync(name, layer);
        var manifest = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar));
        await _there.PushAsync(name, manifest, tag);
        return manifest.Encode();
    }

    [Fact]
    public async Task A_repository_comes_with_its_tags_indexes_and_referrers_and_a_second_run_sends_nothing()
    {
        var one = await PushAsync("app", "1");
        var child = await _there.PushAsync("app", Samples.Image());
        await _there.PushAsync("app", Samples.Index(child), "2");
        var referrer = await _there.PushAsync(
            "app",
            Samples.Referrer(Samples.Descriptor(one, MediaTypes.OciManifest), "x/signature")
        );
        var listed = referrer.DeepClone().AsObject();
        listed["artifactType"] = "x/signature";
        await _there.PushAsync("app", Samples.Index(listed), Digest.Of(one).ToString().Replace(':', '-'));

        var first = await MirrorAsync($"{_registry.Host}/app", $"{Host}/copy/app");
        var second = await MirrorAsync($"{_registry.Host}/app", $"{Host}/copy/app");

        Assert.True(first.Code == 0, first.Out + first.Error);
        Assert.Equal(["1", "2"], await Server.Http.TagsAsync("copy/app"));
        Assert.Equal(one, await Server.Http.GetByteArrayAsync("copy/app/manifests/1"));
        var referrers = await Server.Http.GetJsonAsync($"copy/app/referrers/{Digest.Of(one)}");
        Assert.Equal((string)referrer["digest"]!, (string)referrers["manifests"]![0]!["digest"]!);
        Assert.Equal(0, second.Code);
        Assert.Contains("0 manifests and 0 blobs sent", second.Out);
    }

    [Fact]
    public async Task A_run_that_was_broken_off_goes_on_where_it_was()
    {
        var layers = Enumerable.Range(0, 6).Select(_ => Samples.Bytes(3 << 20)).ToList();
        foreach (var (i, layer) in layers.Index())
        {
            await _there.PushBlobAsync("big", layer);
            await _there.PushAsync("big", Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar)), $"{i}");
        }

        using var relay = new TcpRelay(_registry.Port);
        relay.HoldAfter(10 << 20);
        var broken = MirrorAsync($"{relay.Host}/big", $"{Host}/big", "--parallel", "1");
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        while ((await TagsHereAsync()).Count < 2)
        {
            await Task.Delay(50, patience.Token);
        }

        _registry.Kill();
        relay.Cut();
        relay.LetThrough();
        Assert.NotEqual(0, (await broken).Code);
        var (have, sent) = (await TagsHereAsync(), _registry.Requests("GET /v2/big/blobs/"));
        _registry.Start();
        var (code, told, error) = await MirrorAsync($"{_registry.Host}/big", $"{Host}/big");

        Assert.True(code == 0, told + error);
        Assert.Equal(["0", "1", "2", "3", "4", "5"], await TagsHereAsync());
        Assert.InRange(have.Count, 2, 5);
        // All images have the same config.
        Assert.True(_registry.Requests("GET /v2/big/blobs/") - sent <= 6 - have.Count, told);
    }

    private async Task<IReadOnlyList<string>> TagsHereAsync()
    {
        using var answer = await Server.Http.GetAsync("big/tags/list");
        return answer.StatusCode == HttpStatusCode.NotFound ? [] : await Server.Http.TagsAsync("big");
    }

    [Fact]
    public async Task Many_repositories_come_by_a_pattern_and_tags_by_theirs()
    {
        await PushAsync("team/a", "v1");
        await PushAsync("team/a", "test");
        await PushAsync("team/deep/b", "v2");
        await PushAsync("other/c", "v1");

        var dry = await MirrorAsync($"{_registry.Host}/team/**", $"{Host}/m", "--tag", "v*", "--dry-run");
        Assert.Equal(0, dry.Code);
        Assert.Contains("team/a:v1", dry.Out);
        Assert.Contains("nothing was sent; looked at", dry.Out);
        Assert.Equal(HttpStatusCode.NotFound, await Server.Http.StatusAsync("GET", "m/team/a/manifests/v1"));
        var real = await MirrorAsync($"{_registry.Host}/team/**", $"{Host}/m", "--tag", "v*");

        Assert.True(real.Code == 0, real.Out + real.Error);
        Assert.Equal(["v1"], await Server.Http.TagsAsync("m/team/a"));
        Assert.Equal(["v2"], await Server.Http.TagsAsync("m/team/deep/b"));
        Assert.Equal(HttpStatusCode.NotFound, await Server.Http.StatusAsync("GET", "m/other/c/tags/list"));
    }

    [Fact]
    public async Task Tags_that_are_gone_are_deleted_only_when_asked()
    {
        await PushAsync("app", "1");
        await MirrorAsync($"{_registry.Host}/app", $"{Host}/app");
        await Server.Http.PushAsync("app", Samples.Image(), "mine");

        await MirrorAsync($"{_registry.Host}/app", $"{Host}/app");
        Assert.Equal(["1", "mine"], await Server.Http.TagsAsync("app"));
        await MirrorAsync($"{_registry.Host}/app", $"{Host}/app", "--delete");

        Assert.Equal(["1"], await Server.Http.TagsAsync("app"));
    }

    [Fact]
    public async Task A_tag_that_cannot_be_deleted_is_not_said_to_be()
    {
        await using var target = await TestServer.StartAsync(options =>
            options with
            {
                Immutability = new ImmutabilityOptions
                {
                    Rules = [new ImmutabilityRule { Repositories = ["**"], Tags = ["v*"] }],
                },
            }
        );
        await PushAsync("app", "1");
        await target.Http.PushAsync("app", Samples.Image(), "v1");

        var run = await MirrorAsync($"{_registry.Host}/app", $"{new Uri(target.Url).Authority}/app", "--delete");

        Assert.NotEqual(0, run.Code);
        Assert.Contains("app:v1", run.Error);
        Assert.DoesNotContain("deleted", run.Out);
    }

    [Fact]
    public async Task One_platform_is_the_image_under_the_tag()
    {
        var amd = await _there.PushAsync("app", Samples.Image());
        amd["platform"] = new System.Text.Json.Nodes.JsonObject { ["os"] = "linux", ["architecture"] = "amd64" };
        var arm = await _there.PushAsync("app", Samples.Image());
        arm["platform"] = new System.Text.Json.Nodes.JsonObject { ["os"] = "linux", ["architecture"] = "arm64" };
        await _there.PushAsync("app", Samples.Index(amd, arm), "1");

        var (code, _, error) = await MirrorAsync($"{_registry.Host}/app:1", $"{Host}/app", "--platform", "linux/arm64");

        Assert.True(code == 0, error);
        using var answer = await Server.Http.GetAsync("app/manifests/1");
        Assert.Equal((string)arm["digest"]!, answer.Header("Docker-Content-Digest"));
        Assert.Equal(HttpStatusCode.NotFound, await Server.Http.StatusAsync("GET", $"app/manifests/{amd["digest"]}"));
    }

    [Fact]
    public async Task What_cannot_be_had_is_told_and_the_rest_comes()
    {
        var bad = await PushAsync("team/bad", "1");
        await PushAsync("team/good", "1");
        await PushAsync("team/more", "1");
        var layer = (string)System.Text.Json.Nodes.JsonNode.Parse(bad)!["layers"]![0]!["digest"]!;
        Assert.Equal(HttpStatusCode.Accepted, await _there.StatusAsync("DELETE", $"team/bad/blobs/{layer}"));

        var (code, told, error) = await MirrorAsync($"{_registry.Host}/team/*", $"{Host}/m");

        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains($"{_registry.Host}/team/bad:1", error, StringComparison.Ordinal);
        Assert.Contains(layer, error, StringComparison.Ordinal);
        Assert.Contains("1 did not succeed", error, StringComparison.Ordinal);
        Assert.Contains("3 repositories", told, StringComparison.Ordinal);
        Assert.Equal(["1"], await Server.Http.TagsAsync("m/team/good"));
        Assert.Equal(["1"], await Server.Http.TagsAsync("m/team/more"));
        Assert.Equal(HttpStatusCode.NotFound, await Server.Http.StatusAsync("GET", "m/team/bad/manifests/1"));
    }

    [Fact]
    public async Task What_is_not_there_or_not_understood_is_told_as_such()
    {
        var nowhere = await MirrorAsync($"{_registry.Host}/none", $"{Host}/none");
        var wrong = await MirrorAsync("app", "other");
        var pattern = await MirrorAsync($"{_registry.Host}/nothing/*", Host);

        Assert.Equal(ExitCodes.Usage, nowhere.Code);
        Assert.Contains($"{_registry.Host}/none", nowhere.Error, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, wrong.Code);
        Assert.Contains("HOST/NAME", wrong.Error, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, pattern.Code);
        Assert.Contains("no repository of the form", pattern.Error, StringComparison.Ordinal);
    }
}
