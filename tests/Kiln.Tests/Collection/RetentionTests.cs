using System.Net;
using Kiln.Client.Administration;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Collection;

/// <summary>Rules by which tags and untagged manifests go.</summary>
public sealed class RetentionTests
{
    private static readonly TimeSpan Day = TimeSpan.FromDays(1);

    [Fact]
    public async Task The_newest_the_youngest_and_those_of_a_name_are_kept()
    {
        await using var server = await StartAsync(
            new RetentionRule
            {
                Repositories = ["ci/**"],
                KeepNewest = 2,
                KeepYounger = 3 * Day,
                KeepTags = ["v*"],
            }
        );
        foreach (var tag in new[] { "v1", "a", "b", "c", "d" })
        {
            await server.Http.PushAsync("ci/app", Samples.Image(), tag);
            await server.Http.PushAsync("other/app", Samples.Image(), tag);
            server.Time.Advance(Day);
        }

        // a: 4 days, b: 3, c: 2, d: 1
        var items = await server.CollectAsync();

        Assert.Equal((string[])["c", "d", "v1"], await server.Http.TagsAsync("ci/app"));
        Assert.Equal((string[])["a", "b", "c", "d", "v1"], await server.Http.TagsAsync("other/app"));
        var gone = Assert.Single(items, i => i is { Kind: CollectionKinds.Tag, Reference: "a" });
        Assert.Equal(CollectionActions.Deleted, gone.Action);
        Assert.Contains("retention rule 1 (ci/**)", gone.Reason, StringComparison.Ordinal);
        Assert.Contains("number 4 is not among the newest 2", gone.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dry_run_tells_the_rule_that_decides_for_each_tag_and_deletes_none()
    {
        await using var server = await StartAsync(
            new RetentionRule
            {
                Repositories = ["**"],
                Tags = ["pr-*"],
                KeepNewest = 1,
            },
            new RetentionRule
            {
                Repositories = ["a/**"],
                KeepTags = ["1"],
                KeepNewest = 0,
            }
        );
        foreach (var tag in new[] { "pr-1", "pr-2", "1", "2" })
        {
            await server.Http.PushAsync("a/b", Samples.Image(), tag);
            server.Time.Advance(Day);
        }

        var items = (await server.CollectAsync(dryRun: true)).FindAll(i => i.Kind == CollectionKinds.Tag);

        Assert.Equal(
            (string[])["1 kept", "2 would be deleted", "pr-1 would be deleted", "pr-2 kept"],
            items.Select(i => $"{i.Reference} {i.Action}").Order(StringComparer.Ordinal)
        );
        Assert.Contains("rule 1 (**)", items.Single(i => i.Reference == "pr-1").Reason, StringComparison.Ordinal);
        Assert.Contains("rule 2 (a/**)", items.Single(i => i.Reference == "2").Reason, StringComparison.Ordinal);
        Assert.Equal(4, (await server.Http.TagsAsync("a/b")).Length);
    }

    [Fact]
    public async Task What_is_immutable_is_never_deleted_by_a_rule()
    {
        await using var server = await CollectedServer.StartAsync(options =>
            options with
            {
                Retention = new RetentionOptions
                {
                    Rules = [new RetentionRule { Repositories = ["**"], KeepNewest = 0 }],
                },
                Immutability = new ImmutabilityOptions
                {
                    Rules = [new ImmutabilityRule { Repositories = ["a/**"], Tags = ["v*"] }],
                },
            }
        );
        await server.Http.PushAsync("a/b", Samples.Image(), "v1");
        await server.Http.PushAsync("a/b", Samples.Image(), "x");

        var items = await server.CollectAsync();

        Assert.Equal((string[])["v1"], await server.Http.TagsAsync("a/b"));
        var kept = Assert.Single(items, i => i is { Kind: CollectionKinds.Tag, Reference: "v1" });
        Assert.Equal(CollectionActions.Keep, kept.Action);
        Assert.Contains("immutable by immutability rule 1 (a/**)", kept.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Untagged_manifests_go_by_their_repositorys_rule()
    {
        await using var server = await StartAsync(
            new RetentionRule
            {
                Repositories = ["ci/**"],
                DeleteUntaggedAfter = 2 * Day,
                KeepNewestUntagged = 1,
            }
        );
        var old = await server.Http.PushAsync("ci/app", Samples.Image());
        server.Time.Advance(Day);
        var young = await server.Http.PushAsync("ci/app", Samples.Image());
        var other = await server.Http.PushAsync("other/app", Samples.Image());
        await server.CollectAsync();
        server.Time.Advance(2 * Day);

        await server.CollectAsync();

        Assert.Equal(
            HttpStatusCode.NotFound,
            await server.Http.StatusAsync("GET", $"ci/app/manifests/{old["digest"]}")
        );
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"ci/app/manifests/{young["digest"]}"));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"other/app/manifests/{other["digest"]}"));
    }

    [Fact]
    public async Task Rules_that_make_no_sense_are_told_all_at_once()
    {
        var fault = await Assert.ThrowsAsync<ServerStartException>(() =>
            StartAsync(
                new RetentionRule { Repositories = ["Upper"], KeepNewest = -1 },
                new RetentionRule { Repositories = [], KeepTags = ["a b"] }
            )
        );

        Assert.Contains("retention rule 1: 'Upper'", fault.Message, StringComparison.Ordinal);
        Assert.Contains("retention rule 1: keep-newest is -1", fault.Message, StringComparison.Ordinal);
        Assert.Contains("retention rule 2 names no repositories", fault.Message, StringComparison.Ordinal);
        Assert.Contains("retention rule 2: 'a b' is no pattern for tags", fault.Message, StringComparison.Ordinal);
    }

    private static Task<CollectedServer> StartAsync(params RetentionRule[] rules) =>
        CollectedServer.StartAsync(options => options with { Retention = new RetentionOptions { Rules = rules } });
}
