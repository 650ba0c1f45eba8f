using Kiln.Inspect;

namespace Kiln.Tests.Inspect;

/// <summary>Hints from hand-made layers: what flattening owners and modes would lose.</summary>
public sealed class FlattenVerdictTests
{
    [Fact]
    public async Task An_image_of_one_owner_can_be_flattened()
    {
        var verdict = await JudgeAsync(new Tars().Directory("app").File("app/run", "12345", mode: 0x1ed));

        Assert.Equal((FlattenVerdict.Allow, FlattenVerdict.Allow), (verdict.Ownership, verdict.Mode));
        Assert.Equal((5, 2, 0), (verdict.Bytes, verdict.Files, verdict.SetIdFiles));
        Assert.Equal([0], verdict.Owners);
        Assert.Empty(verdict.Reasons);
    }

    [Fact]
    public async Task A_distributions_own_entries_do_not_frighten()
    {
        var verdict = await JudgeAsync(
            new Tars()
                .File("etc/shadow", "x", mode: 0x1a0, group: 42)
                .File("usr/bin/su", "x", mode: 0x9ed)
                .File("usr/bin/chage", "x", mode: 0x5ed, group: 42)
                .File("usr/sbin/unix_chkpwd", "x", mode: 0x5ed, group: 42)
                .Directory("var/mail", mode: 0x5fd, group: 8)
                .Directory("usr/local/lib/python3.11", mode: 0x5fd, group: 50)
                .Directory("var/cache/apt/archives/partial", mode: 0x1c0, owner: 42)
                .Directory("tmp", mode: 0x3ff)
                .Directory("var/cache/man/de", mode: 0x1ed, owner: 6, group: 12)
                // Red Hat's, and what mmdebstrap leaves for a boot.
                .Directory("usr/lib64", mode: 0x16d)
                .Directory("root", mode: 0x168)
                .Device("dev/null")
                .WithCapability("usr/bin/ping")
        );

        Assert.Equal((FlattenVerdict.Allow, FlattenVerdict.Allow), (verdict.Ownership, verdict.Mode));
        Assert.Equal((3, 1), (verdict.SetIdFiles, verdict.CapabilityFiles));
    }

    [Fact]
    public async Task What_would_be_lost_asks_for_caution()
    {
        Assert.Equal("caution/caution", await VerdictAsync(t => t.File("opt/x", "x", mode: 0x9ed, owner: 7)));
        Assert.Equal("allow/caution", await VerdictAsync(t => t.File("opt/x", "x", mode: 0x9ed)));
        Assert.Equal("allow/caution", await VerdictAsync(t => t.WithCapability("opt/server")));
        Assert.Equal("caution/allow", await VerdictAsync(t => t.File("etc/my.key", "x", mode: 0x1a0, group: 999)));
        Assert.Equal("caution/allow", await VerdictAsync(t => t.Directory("home/app", mode: 0x1c0, owner: 1000)));
        Assert.Equal("caution/caution", await VerdictAsync(t => t.Directory("srv/shared", mode: 0x5fd, group: 100)));
        Assert.Equal(
            "caution/caution",
            await VerdictAsync(t => t.Directory("usr/local/app", mode: 0x5f8, group: 1500))
        );
        Assert.Equal("caution/allow", await VerdictAsync(t => t.Directory("usr/local/app", mode: 0x1e8, group: 1500)));
        Assert.Equal("allow/caution", await VerdictAsync(t => t.File("a", "x", mode: 0)));
        Assert.Equal("allow/caution", await VerdictAsync(t => t.Device("opt/null")));
        Assert.Equal("allow/caution", await VerdictAsync(t => t.Directory("opt/x", mode: 0xc0)));
        Assert.Equal("caution/allow", await VerdictAsync(t => t.File("a", "x", owner: 70_000)));
        Assert.Equal("allow/allow", await VerdictAsync(t => t.File("a", "x", owner: 1000)));
        Assert.Equal("caution/allow", await VerdictAsync(t => t.File("a", "x", owner: 1000), user: "1000"));
        Assert.Equal("caution/caution", await VerdictAsync(t => t.File("usr/bin/su", "x", mode: 0x9ed, owner: 7)));
    }

    [Theory]
    [InlineData("65534", "caution")]
    [InlineData("nobody:nogroup", "caution")]
    [InlineData("root:1000", "caution")]
    [InlineData(":1000", "caution")]
    [InlineData("0:0", "allow")]
    [InlineData("root", "allow")]
    [InlineData("", "allow")]
    public async Task An_image_that_runs_as_somebody_does_not_start_where_there_is_one_id(
        string user,
        string ownership
    ) => Assert.Equal($"{ownership}/allow", await VerdictAsync(t => t.File("a", "x"), user));

    [Fact]
    public async Task A_directory_of_a_daemon_says_that_something_becomes_that_user()
    {
        // As redis has it: started as root, it gives /data to redis and goes on as that.
        Assert.Equal("caution/allow", await VerdictAsync(t => t.Directory("data", owner: 999, group: 999)));
        // Of unpacked tars, people and no daemon.
        Assert.Equal("allow/allow", await VerdictAsync(t => t.Directory("opt/tool-1.0", owner: 1000, group: 1000)));
        Assert.Equal("allow/allow", await VerdictAsync(t => t.Directory("data", mode: 0x3ff, owner: 999, group: 999)));
        Assert.Equal("allow/allow", await VerdictAsync(t => t.File("data", "x", owner: 999, group: 999)));
    }

    [Fact]
    public async Task An_image_built_without_real_ids_has_to_be_flattened()
    {
        var image = FlattenedImage.Of([await FactsAsync(new Tars().File("a", "x"))]);

        Assert.Equal(FlattenVerdict.Required, FlattenVerdict.Of(image, user: null, singleId: true).Ownership);
    }

    [Fact]
    public async Task Layers_lie_on_top_of_each_other()
    {
        var image = FlattenedImage.Of([
            await FactsAsync(
                new Tars()
                    .File("keep", "1")
                    .File("replaced", "22", owner: 5)
                    .File("gone", "333")
                    .Directory("dir")
                    .File("dir/below", "4444")
                    .Directory("opaque")
                    .File("opaque/old", "55555")
                    .Directory("turned")
                    .File("turned/x", "666666")
            ),
            await FactsAsync(
                new Tars()
                    .File("replaced", "2")
                    .File("opaque/new", "5")
                    .File(".wh.gone")
                    .File(".wh.dir")
                    .File("opaque/.wh..wh..opq")
                    .File("turned", "6")
                    .HardLink("again", "replaced")
            ),
        ]);

        Assert.Equal(
            ["again", "keep", "opaque", "opaque/new", "replaced", "turned"],
            image.Entries.Select(e => e.Path).Order(StringComparer.Ordinal)
        );
        var verdict = FlattenVerdict.Of(image, user: null, singleId: false);
        Assert.Equal((4, 5), (verdict.Bytes, verdict.Files));
        Assert.Equal([0], verdict.Owners);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_file_lives_on_under_its_other_name_when_a_layer_takes_its_first_away(bool replaced)
    {
        var upper = new Tars();
        upper = replaced ? upper.File("opt/app/helper", "1", mode: 0x1ed) : upper.File("opt/app/.wh.helper");
        var image = FlattenedImage.Of([
            await FactsAsync(
                new Tars()
                    .File("opt/app/helper", "12345", mode: 0x9ed)
                    .HardLink("opt/app/helper2", "opt/app/helper")
                    .HardLink("opt/app/helper3", "opt/app/helper")
            ),
            await FactsAsync(upper),
        ]);

        var verdict = FlattenVerdict.Of(image, user: null, singleId: false);

        Assert.Equal((1, FlattenVerdict.Caution), (verdict.SetIdFiles, verdict.Mode));
        Assert.StartsWith("opt/app/helper2:", Assert.Single(verdict.Reasons), StringComparison.Ordinal);
        Assert.Equal(replaced ? (6, 2) : (5, 1), (verdict.Bytes, verdict.Files));
    }

    [Fact]
    public async Task A_links_header_is_judged_where_it_says_more_than_its_file()
    {
        // Many who unpack set the file's mode by it.
        var verdict = await JudgeAsync(
            new Tars()
                .File("opt/a", "x", mode: 0x1ed)
                .HardLink("opt/b", "opt/a", mode: 0x9ed)
                .HardLink("opt/c", "opt/a", mode: 0x9ed)
        );
        Assert.Equal((1, FlattenVerdict.Caution, 1), (verdict.SetIdFiles, verdict.Mode, (int)verdict.Files));
        Assert.StartsWith("opt/b: is set-id", verdict.Reasons[0], StringComparison.Ordinal);

        var same = await JudgeAsync(new Tars().File("opt/a", "x", mode: 0x9ed).HardLink("opt/b", "opt/a", mode: 0x9ed));
        Assert.Equal(1, same.SetIdFiles);
        Assert.StartsWith("opt/a:", Assert.Single(same.Reasons), StringComparison.Ordinal);

        Assert.Equal("allow/caution", await VerdictAsync(t => t.File("a", "x").HardLink("b", "a", mode: 0)));
        Assert.Equal("allow/allow", await VerdictAsync(t => t.File("a", "x").HardLink("b", "a")));
    }

    [Fact]
    public async Task Many_layers_with_whiteouts_cost_what_they_have_and_not_what_lies_below_them()
    {
        var tar = new Tars();
        for (var i = 0; i < 20_000; i++)
        {
            tar = tar.File($"{string.Join('/', Enumerable.Repeat("d", 100))}/{i}", "");
        }

        var (lower, upper) = (await FactsAsync(tar), await FactsAsync(new Tars().File(".wh.x")));
        var clock = System.Diagnostics.Stopwatch.StartNew();

        var image = FlattenedImage.Of([lower, .. Enumerable.Repeat(upper, 9_999)]);

        Assert.Equal(20_000, image.Entries.Count);
        // It was minutes for each thousand of them.
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), $"{clock.Elapsed}");
    }

    [Fact]
    public async Task Facts_survive_packing_and_count_the_whole_tar()
    {
        var tar = new Tars().File("a", "x", mode: 0x9ed, owner: 3, group: 4).WithCapability("b");
        var bytes = tar.Bytes();
        var (facts, _, _) = await LayerFacts.ReadAsync(new MemoryStream(bytes), TestContext.Current.CancellationToken);

        var again = LayerFacts.Unpack(facts!.Pack())!;

        Assert.Equal(bytes.Length, again.TarBytes);
        Assert.Equal(facts.Entries, again.Entries);
        Assert.True(again.Entries[1].Capability);
    }

    [Fact]
    public async Task What_is_no_layer_has_no_facts()
    {
        var config = """{"architecture":"amd64","os":"linux"}"""u8.ToArray();
        var (facts, _, fault) = await LayerFacts.ReadAsync(
            new MemoryStream(config),
            TestContext.Current.CancellationToken
        );

        Assert.Null(facts);
        Assert.NotNull(fault);
    }

    private static async Task<string> VerdictAsync(Func<Tars, Tars> make, string? user = null)
    {
        var verdict = await JudgeAsync(make(new Tars().File("base", "x")), user);
        return $"{verdict.Ownership}/{verdict.Mode}";
    }

    private static async Task<FlattenVerdict> JudgeAsync(Tars layer, string? user = null) =>
        FlattenVerdict.Of(FlattenedImage.Of([await FactsAsync(layer)]), user, singleId: false);

    private static async Task<LayerFacts> FactsAsync(Tars layer)
    {
        var (facts, _, fault) = await LayerFacts.ReadAsync(
            new MemoryStream(layer.Gzip()),
            TestContext.Current.CancellationToken
        );
        Assert.Null(fault);
        return facts!;
    }
}
