using Kiln.Conformance;
using Kiln.Tests.Conformance;
using Kiln.Tests.Registry.Upstreams;

namespace Kiln.Tests.Front;

/// <summary>A registry loses nothing by a front.</summary>
public sealed class FrontConformanceTests
{
    [Fact]
    public async Task Whatever_a_registry_does_right_alone_it_does_right_through_the_front()
    {
        using var registry = ThroughServer.RequireRegistry();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");

        var alone = await RunAsync($"http://{registry.Host}");
        var through = await RunAsync($"http://{front.Host}");

        Assert.Contains(alone, result => result.Outcome == Outcome.Pass);
        Assert.Empty(
            from one in alone
            where one.Outcome == Outcome.Pass
            let other = through.Single(t => t.Check.Id == one.Check.Id)
            where other.Outcome != Outcome.Pass
            select $"{one.Check.Id}: {other.Reason}"
        );
        // Who has no referrers gets them.
        Assert.Contains(through, t => t.Check.Id == "store.referrers" && t.Outcome == Outcome.Pass);
    }

    private static Task<IReadOnlyList<CheckResult>> RunAsync(string url) =>
        ConformanceRun.RunAsync(
            ConformanceServer.Options(new Uri(url)) with
            {
                Categories = [Categories.Store],
            },
            null,
            TestContext.Current.CancellationToken
        );
}
