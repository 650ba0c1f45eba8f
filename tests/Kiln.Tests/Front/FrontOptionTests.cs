using Kiln.Server;

namespace Kiln.Tests.Front;

/// <summary>What can be told of a registry behind.</summary>
public sealed class FrontOptionTests
{
    [Fact]
    public void What_makes_no_sense_in_front_of_another_registry_is_refused()
    {
        var front = new FrontOptions { Url = "https://registry.example.org" };
        foreach (
            var (change, word) in new (Func<ServerOptions, ServerOptions>, string)[]
            {
                (o => o with { Access = o.Access with { PolicyFile = "/x" } }, "--policy"),
                (o => o with { Upstreams = [new UpstreamOptions { Host = "docker.io" }] }, "upstreams"),
                (
                    o => o with { Quotas = new QuotaOptions { Rules = [new QuotaRule { Repositories = ["**"] }] } },
                    "quotas"
                ),
                (o => o with { Build = o.Build with { PullBuild = PullBuilds.Recipes } }, "builds.pull-builds"),
                (o => o with { Build = o.Build with { Rebuild = RebuildTriggers.OnBaseChange } }, "builds.rebuild"),
                (o => o with { Front = front with { Url = "https://registry.example.org/team" } }, "without a path"),
                (o => o with { Front = front with { User = "kiln" } }, "front.password-file"),
                (o => o with { Front = front with { TokenFile = "/not/there" } }, "is not there"),
                (o => o with { Front = front with { Url = "http://localhost:5000" } }, "own address"),
                (o => o with { Front = new FrontOptions { User = "kiln" } }, "--upstream"),
            }
        )
        {
            var options = change(new ServerOptions { DataDirectory = "/tmp/not-made", Front = front });
            var e = Assert.Throws<ServerStartException>(() => KilnServer.Create(options));
            Assert.Contains(word, e.Message, StringComparison.Ordinal);
        }
    }
}
