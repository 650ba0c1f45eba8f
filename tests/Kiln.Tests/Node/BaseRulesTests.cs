using System.Net;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Node.Fetching;
using Kiln.Oci;
using Kiln.Tests.Client;

namespace Kiln.Tests.Node;

public sealed class BaseRulesTests
{
    private static readonly LeaseBases Bases = new()
    {
        Own = ["kiln.example.org", "127.0.0.1:5000"],
        Mirrors = [new LeaseMirror("docker.io", "hub")],
    };

    private static BaseRules Rules(LeaseBases? bases = null) => new(bases ?? Bases, ["plain.site:5000"]);

    private static string Place(BaseRules rules, string image)
    {
        Assert.True(Reference.TryParse(image, out var reference));
        return rules.Place(reference).ToString();
    }

    [Theory]
    [InlineData("debian:12", "kiln.example.org/hub/library/debian:12")]
    [InlineData("docker.io/a/b", "kiln.example.org/hub/a/b")]
    [InlineData("127.0.0.1:5000/team/base:1", "127.0.0.1:5000/team/base:1")]
    [InlineData("quay.io/a/b:1", "quay.io/a/b:1")]
    public void Bases_of_mirrored_hosts_are_had_from_the_registry(string image, string place) =>
        Assert.Equal(place, Place(Rules(), image));

    [Theory]
    [InlineData("docker.io/library/debian", true)]
    [InlineData("docker.io/library/debian/x", false)]
    [InlineData("docker.io/other/debian", false)]
    [InlineData("ghcr.io/site/a/b", true)]
    [InlineData("ghcr.io/site", false)]
    [InlineData("ghcr.io/site/secret", false)]
    [InlineData("all.example.org/x/y", true)]
    [InlineData("evil.example.net/x", false)]
    [InlineData("127.0.0.1:5000/x", true)]
    public void What_may_be_a_base_is_what_the_operator_says(string image, bool allowed)
    {
        var rules = Rules(
            Bases with
            {
                Mirrors = [],
                Allow = ["docker.io/library/*", "ghcr.io/site/**", "all.example.org"],
                Deny = ["ghcr.io/site/secret"],
            }
        );

        if (allowed)
        {
            Assert.Equal(image, Place(rules, image));
        }
        else
        {
            Assert.Contains("not allowed as a base", Assert.Throws<FormatException>(() => Place(rules, image)).Message);
        }
    }

    [Theory]
    [InlineData("host:443", "93.184.216.34", true)]
    [InlineData("host:443", "2606:2800:220:1::1", true)]
    [InlineData("host:443", "127.0.0.1", false)]
    [InlineData("host:443", "127.8.8.8", false)]
    [InlineData("host:443", "::1", false)]
    [InlineData("host:443", "::ffff:127.0.0.1", false)]
    [InlineData("host:443", "0.0.0.0", false)]
    [InlineData("host:443", "10.1.2.3", false)]
    [InlineData("host:443", "172.31.0.1", false)]
    [InlineData("host:443", "192.168.1.1", false)]
    [InlineData("host:443", "169.254.169.254", false)]
    [InlineData("host:443", "100.64.0.1", false)]
    [InlineData("host:443", "fe80::1", false)]
    [InlineData("host:443", "fd00::1", false)]
    [InlineData("host:443", "64:ff9b::7f00:1", false)]
    [InlineData("host:443", "64:ff9b::5db8:d822", true)]
    [InlineData("host:443", "2002:7f00:1::1", false)]
    [InlineData("127.0.0.1:5000", "127.0.0.1", true)]
    [InlineData("127.0.0.1:5001", "127.0.0.1", false)]
    [InlineData("kiln.example.org:443", "10.0.0.1", true)]
    [InlineData("kiln.example.org:8080", "10.0.0.1", false)]
    [InlineData("plain.site:5000", "10.0.0.1", true)]
    [InlineData("registry.site:5000", "10.0.0.1", true)]
    [InlineData("a.wild.site:443", "10.0.0.1", false)]
    public void Only_public_addresses_and_hosts_that_are_named_are_connected_to(string host, string address, bool may)
    {
        var rules = Rules(Bases with { Allow = ["registry.site:5000/**", "*.wild.site/**"] });

        Assert.Equal(may, rules.WhyNot(host, IPAddress.Parse(address)) is null);
    }

    [Fact]
    public async Task A_proxy_is_asked_only_for_hosts_that_are_named()
    {
        await using var proxy = await TestRegistry.StartAsync();
        var blob = proxy.AddBlob(Samples.Bytes(10));
        var rules = Rules(Bases with { Allow = ["named.invalid/**"] });
        string[] hosts = ["named.invalid", "other.invalid", "10.255.255.1"];
        using var client = proxy.Client(o =>
            o with
            {
                MayConnect = rules.WhyNot,
                InsecureRegistries = hosts,
                Proxy = new WebProxy(new Uri($"http://{proxy.Host}")),
                Attempts = 1,
            }
        );

        foreach (var host in hosts)
        {
            var repository = new RemoteRepository(host, RepositoryName.Parse("a"));
            var asking = client.GetBlobAsync(repository, blob.Digest, TestContext.Current.CancellationToken);
            if (host == hosts[0])
            {
                await using var content = (await asking).Content;
                continue;
            }

            await Assert.ThrowsAsync<RegistryException>(() => asking);
        }

        Assert.Single(proxy.Requests);
    }

    [Fact]
    public async Task Layers_whose_sizes_no_number_holds_are_too_many()
    {
        await using var registry = await TestRegistry.StartAsync();
        var layer = new Descriptor
        {
            MediaType = MediaTypes.OciLayerTar,
            Digest = Digest.EmptyJson,
            Size = long.MaxValue - 5,
        };
        var image = new ImageManifest { Config = layer with { Size = 2 }, Layers = [layer, layer] };
        registry.AddManifest(
            "1",
            MediaTypes.OciManifest,
            System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(image, OciJson.Default.ImageManifest)
        );
        using var client = registry.Client();
        var fetcher = new BaseFetcher(
            client,
            new BaseShelf(Path.GetTempPath(), 1, 1, (_, _) => Task.CompletedTask),
            1 << 30
        );

        var e = await Assert.ThrowsAsync<FormatException>(() =>
            fetcher.FetchAsync(
                new Kiln.BuildSpec.Dockerfiles.BaseReference($"{registry.Host}/a:1", Platform.LinuxAmd64),
                microarchitecture: null,
                pinned: null,
                fetcher.Hold(),
                login: null,
                rules: null,
                TestContext.Current.CancellationToken
            )
        );

        Assert.Contains("bytes of layers", e.Message);
    }

    [Fact]
    public async Task A_name_or_a_redirect_that_leads_inside_is_not_connected_to()
    {
        await using var inside = await TestRegistry.StartAsync();
        await using var allowed = await TestRegistry.StartAsync();
        var blob = inside.AddBlob(Samples.Bytes(10));
        allowed.Intercept = http =>
        {
            http.Response.Headers.Location = $"http://{inside.Host}{http.Request.Path}";
            http.Response.StatusCode = 307;
            return Task.FromResult(true);
        };
        var rules = Rules(Bases with { Own = [allowed.Host] });
        using var client = allowed.Client(o => o with { MayConnect = rules.WhyNot });

        foreach (var registry in new[] { inside, allowed })
        {
            var e = await Assert.ThrowsAsync<RegistryException>(() =>
                client.OpenBlobAsync(registry.Repository("a"), blob.Digest, TestContext.Current.CancellationToken)
            );
            Assert.Equal(RegistryFault.NotAllowed, e.Fault);
            Assert.Contains("not public", e.Message);
        }

        Assert.Empty(inside.Requests);
    }
}
