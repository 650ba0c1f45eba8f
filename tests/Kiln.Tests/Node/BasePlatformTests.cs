using System.Text;
using System.Text.Json;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Node.Fetching;
using Kiln.Oci;
using Kiln.Tests.Client;

namespace Kiln.Tests.Node;

/// <summary>A base that is no index is taken by its name alone; whether it is for the platform only its config says.</summary>
public sealed class BasePlatformTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kiln-test-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData("""{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}""", "linux/arm64", "linux/amd64")]
    [InlineData("""{"os":"linux","architecture":"arm64","rootfs":{"diff_ids":[]}}""", "linux/amd64", "linux/arm64")]
    [InlineData("""{"os":"windows","architecture":"amd64"}""", "linux/amd64", "windows/amd64")]
    [InlineData("""{"os":"linux","architecture":"amd64","variant":"v4"}""", "linux/amd64/v3", "linux/amd64/v4")]
    public async Task A_base_for_another_platform_is_refused_before_its_layers_are_fetched(
        string config,
        string wanted,
        string there
    )
    {
        await using var registry = await TestRegistry.StartAsync();

        var e = await Assert.ThrowsAsync<FormatException>(() => FetchAsync(registry, config, wanted));

        Assert.Contains($"{registry.Host}/a:1 is for {there}, not {wanted}", e.Message);
        Assert.Single(registry.Requests, r => r.Contains("/blobs/", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("""{"os":"linux","architecture":"arm64","variant":"v8","rootfs":{"diff_ids":[]}}""", "linux/arm64")]
    [InlineData("""{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}""", "linux/amd64/v3")]
    [InlineData("""{"os":"linux","architecture":"amd64","variant":"v3","rootfs":{"diff_ids":[]}}""", "linux/amd64")]
    [InlineData("""{"os":"linux","architecture":"arm","variant":"v6","rootfs":{"diff_ids":[]}}""", "linux/arm/v7")]
    [InlineData("""{"os":"linux","architecture":"x86_64","rootfs":{"diff_ids":[]}}""", "linux/amd64")]
    [InlineData("""{"rootfs":{"diff_ids":[]}}""", "linux/arm64")]
    [InlineData("""{"architecture":7,"rootfs":{"diff_ids":[]}}""", "linux/arm64")]
    [InlineData("""{"architecture":"\ud800","rootfs":{"diff_ids":[]}}""", "linux/arm64")]
    [InlineData("""{"os":"linux","architecture":"","rootfs":{"diff_ids":[]}}""", "linux/arm64")]
    public async Task A_base_that_may_be_for_the_platform_is_taken(string config, string wanted)
    {
        await using var registry = await TestRegistry.StartAsync();

        await FetchAsync(registry, config, wanted);

        Assert.True(File.Exists(Assert.Single(Directory.GetFiles(_root, "index.json", SearchOption.AllDirectories))));
    }

    private async Task FetchAsync(TestRegistry registry, string config, string wanted)
    {
        var image = new ImageManifest
        {
            Config = registry.AddBlob(Encoding.UTF8.GetBytes(config), MediaTypes.OciConfig),
            Layers = [registry.AddBlob(Samples.Bytes(10))],
        };
        registry.AddManifest(
            "1",
            MediaTypes.OciManifest,
            JsonSerializer.SerializeToUtf8Bytes(image, OciJson.Default.ImageManifest)
        );
        using var client = registry.Client();
        var fetcher = new BaseFetcher(client, new BaseShelf(_root, 9, 1 << 20, (_, _) => Task.CompletedTask), 1 << 30);
        await fetcher.FetchAsync(
            new BaseReference($"{registry.Host}/a:1", Platform.Parse(wanted)),
            microarchitecture: null,
            pinned: null,
            fetcher.Hold(),
            login: null,
            rules: null,
            TestContext.Current.CancellationToken
        );
    }
}
