using System.Text;
using Kiln.Inspect;
using Kiln.Inspect.Rewriting;

namespace Kiln.Tests.Inspect;

/// <summary>Layers that become one tar: what is left is what unpacking them over each other would leave.</summary>
public sealed class LayerMergeTests
{
    private static readonly Dictionary<string, (byte[][] Layers, string[] Left)> Cases = new(StringComparer.Ordinal)
    {
        ["the upper layer's file counts"] = (
            [new Tars().File("a", "1").File("b", "1").Gzip(), new Tars().File("a", "2").Zstd()],
            ["b 1", "a 2"]
        ),
        ["a whiteout takes a file away, and nothing of its own layer"] = (
            [
                new Tars().File("d/a", "1").File("d/b", "1").Bytes(),
                new Tars().File("d/.wh.a").File("d/.wh.b").File("d/b", "2").Bytes(),
            ],
            ["d/", "d/b 2"]
        ),
        ["a whiteout takes a directory with all in it"] = (
            [new Tars().Directory("d").File("d/e/a", "1").Bytes(), new Tars().File(".wh.d").Bytes()],
            []
        ),
        ["an opaque directory has what its own layer has, in whichever order it says so"] = (
            [
                new Tars().Directory("d").File("d/a", "1").File("d/b", "1").Bytes(),
                new Tars().Directory("d").File("d/c", "2").File("d/.wh..wh..opq").File("d/d", "2").Bytes(),
            ],
            ["d/", "d/c 2", "d/d 2"]
        ),
        ["a file takes the place of a directory, and a directory of a file"] = (
            [
                new Tars().File("d/x", "1").File("f", "1").Bytes(),
                new Tars().File("d", "2").Directory("f").File("f/y", "2").Bytes(),
            ],
            ["f/", "d 2", "f/y 2"]
        ),
        ["a hard link across layers keeps the file whose name is gone"] = (
            [
                new Tars().File("a", "1").Bytes(),
                new Tars().HardLink("b", "a").Bytes(),
                new Tars().File(".wh.a").Bytes(),
            ],
            ["b 1"]
        ),
        ["a hard link stays what it was where its file is replaced"] = (
            [
                new Tars().File("a", "1").HardLink("b", "a").HardLink("c", "./a").Bytes(),
                new Tars().File("a", "2").Bytes(),
            ],
            ["b 1", "c = b", "a 2"]
        ),
        ["a parent that is a link is followed within the tree"] = (
            [
                new Tars().Directory("usr/lib").Link("lib", "usr/lib").Link("out", "/../../usr").Bytes(),
                new Tars().File("lib/x", "1").File("out/y", "1").Bytes(),
            ],
            ["usr/", "usr/lib/", "lib -> usr/lib", "out -> /../../usr", "usr/lib/x 1", "usr/y 1"]
        ),
        ["a directory takes the place of a link to one"] = (
            [
                new Tars().File("real/x", "1").Link("d", "real").Bytes(),
                new Tars().Directory("d").File("d/y", "2").Bytes(),
            ],
            ["d/", "real/", "real/x 1", "d/y 2"]
        ),
        ["devices and pipes are kept for an image"] = ([new Tars().Device("null").Bytes()], ["null device"]),
        ["what other storages leave of their own is nobody's"] = (
            [new Tars().File("a", "1").Bytes(), new Tars().Directory(".wh..wh.plnk").File(".wh..wh.aufs").Bytes()],
            ["a 1"]
        ),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task Merged(string name)
    {
        var (layers, left) = Cases[name];

        var tar = await MergeAsync(layers, new MergeOptions());

        Assert.Equal(left, await ListAsync(tar));
        // What is written is a tar for others as well, and the same each time.
        var (facts, _, fault) = await LayerFacts.ReadAsync(new MemoryStream(tar), default);
        Assert.Null(fault);
        Assert.Equal(left.Length, facts!.Entries.Count);
        Assert.Equal(tar, await MergeAsync(layers, new MergeOptions()));
    }

    [Fact]
    public async Task Names_that_are_no_UTF_8_and_long_ones_stay_what_they_are()
    {
        var odd = Tars.Header("x", '0', 1, binary: false);
        odd[0] = 0xff;
        Rechecked(odd);
        var path = string.Join('/', Enumerable.Repeat("directory", 30));

        var tar = await MergeAsync(
            [
                [.. odd, .. Tars.Padded("1"), .. new byte[1024]],
                new Tars().File(path, "2").Link("l", path).Bytes(),
            ],
            new MergeOptions()
        );

        var all = await ListAsync(tar);
        Assert.Contains("\u00ff 1", all);
        Assert.Contains($"{path} 2", all);
        Assert.Contains($"l -> {path}", all);
        Assert.Contains(new byte[] { 0xff, 0 }, tar.Chunk(512).Select(b => b[..2]));
    }

    [Fact]
    public async Task Holes_as_GNU_tar_writes_them_are_passed_on()
    {
        // A file of 1 MiB with one byte at its end's block: a map of one part, and a second block of the map.
        var header = Tars.Header("holes", 'S', 512, binary: false);
        Encoding.ASCII.GetBytes("ustar  \0").CopyTo(header, 257);
        Encoding.ASCII.GetBytes("00003777000\0" + "00000001000\0").CopyTo(header, 386);
        header[482] = 1;
        Encoding.ASCII.GetBytes("00004000000\0").CopyTo(header, 483);
        Rechecked(header);
        byte[] layer = [.. header, .. new byte[512], .. Tars.Padded("part"), .. new byte[1024]];

        var tar = await MergeAsync([layer, new Tars().File("b", "1").Bytes()], new MergeOptions { OneOwner = true });

        Assert.Equal(["holes 512 of a file with holes", "b 1"], await ListAsync(tar));
        var at = tar.Chunk(512).ToList().FindIndex(b => b[156] == 'S');
        Assert.Equal(header[386..495], tar[((at * 512) + 386)..((at * 512) + 495)]);
    }

    [Fact]
    public async Task For_one_owner_everything_is_roots_and_nothing_gives_power()
    {
        byte[] layer = new Tars()
            .File("su", "s", 0x9ed, owner: 0)
            .File("mine", "m", 0x9ed, owner: 5, group: 6)
            .Device("null")
            .WithCapability("cap")
            .Bytes();
        MergeReport? report = null;

        var tar = await MergeAsync([layer], new MergeOptions { OneOwner = true }, r => report = r);

        var (facts, _, _) = await LayerFacts.ReadAsync(new MemoryStream(tar), default);
        Assert.Equal(["su", "mine", "cap"], facts!.Entries.Select(e => e.Path));
        Assert.All(facts.Entries, e => Assert.Equal((0, 0, false), (e.Owner, e.Group, e.Capability)));
        // A program of root's stays what it was; one of another's must not become root's with its bits.
        Assert.Equal([0x9ed, 0x1ed], facts.Entries.Take(2).Select(e => e.Mode));
        Assert.Equal(
            [
                "1 entries of other owners or groups are root's",
                "1 of these have lost their set-id bits",
                "1 device nodes were left out",
                "1 entries have lost attributes that are not users' own",
            ],
            report!.Left
        );
    }

    [Fact]
    public async Task What_is_added_takes_nothing_s_place()
    {
        var tar = await MergeAsync(
            [new Tars().File("etc/hosts", "own").Link("tmp", "var").Bytes()],
            new MergeOptions
            {
                Added =
                [
                    new("etc", RawEntry.Directory, 0x1c0),
                    new("etc/hosts", RawEntry.File, 0x1a4, "added"),
                    new("tmp", RawEntry.Directory, 0x3ff),
                    new("run", RawEntry.File, 0x1ed, "added"),
                    new("go", RawEntry.SymbolicLink, 0x1ff, "run"),
                ],
            }
        );

        Assert.Equal(["etc/", "etc/hosts own", "tmp -> var", "run added", "go -> run"], await ListAsync(tar));
    }

    [Theory]
    [InlineData("../a", '0', "leaves it")]
    [InlineData("/a", '0', "absolute")]
    [InlineData("a", 'Q', "kind 'Q'")]
    [InlineData("a", '1', "hard link to ''")]
    public async Task What_cannot_be_unpacked_is_refused(string path, char type, string why)
    {
        byte[] layer = [.. Tars.Header(path, type, 0, binary: false), .. new byte[1024]];

        var fault = await Assert.ThrowsAsync<InvalidDataException>(() => MergeAsync([layer], new MergeOptions()));

        Assert.Contains(why, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_path_that_leads_in_a_circle_is_refused()
    {
        byte[] layer = new Tars().Link("a", "b").Link("b", "a").File("a/x", "1").Bytes();

        var fault = await Assert.ThrowsAsync<InvalidDataException>(() => MergeAsync([layer], new MergeOptions()));

        Assert.Contains("'a' leads in a circle", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Damaged_archives_are_refused()
    {
        var whole = new Tars().File("a", new string('x', 2000)).Bytes();
        var flipped = whole.ToArray();
        flipped[3] ^= 1;
        byte[][] damaged = [whole[..700], whole[..1500], flipped];

        foreach (var layer in damaged)
        {
            await Assert.ThrowsAnyAsync<Exception>(() => MergeAsync([layer], new MergeOptions()));
        }
    }

    [Fact]
    public async Task A_layer_of_a_single_id_says_what_it_changed()
    {
        byte[] layer = new Tars()
            .Directory("d", 0x5ed, owner: 7)
            .File("d/su", "s", 0x9ed)
            .File("d/secret", "x", 0x0)
            .WithCapability("cap")
            .Device("dev/null")
            .HardLink("dev/zero", "dev/null")
            .File("fine", "f")
            .File(".wh.gone", mode: 0)
            .Gzip();
        var tar = new MemoryStream();

        var changes = await SingleIdRewrite.WriteAsync(new MemoryStream(layer), tar, whole: true, default);

        Assert.Equal(
            (6, 1, 2, 1, 1, 2),
            (changes.Entries, changes.Owners, changes.SetIds, changes.Capabilities, changes.Modes, changes.Devices)
        );
        Assert.Equal(["d/su"], changes.SetIdFiles);
        var (facts, _, _) = await LayerFacts.ReadAsync(new MemoryStream(tar.ToArray()), default);
        Assert.Equal(
            ["d", "d/su", "d/secret", "cap", "dev/.wh.null", "dev/.wh.zero", "fine", ".wh.gone"],
            facts!.Entries.Select(e => e.Path)
        );
        Assert.All(facts.Entries, e => Assert.Equal((0, 0, false), (e.Owner, e.Group, e.Capability)));
        Assert.Equal([0x1ed, 0x1ed, 0x100], facts.Entries.Take(3).Select(e => e.Mode));
        // Again there is nothing to change.
        Assert.Equal(
            0,
            (
                await SingleIdRewrite.WriteAsync(new MemoryStream(tar.ToArray()), Stream.Null, whole: true, default)
            ).Entries
        );
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_links_header_lets_no_set_id_bit_through(bool whole)
    {
        // Many who unpack set the file's mode by the link's.
        byte[] layer = new Tars().File("a", "a", 0x1ed).HardLink("b", "a", 0x9ed).Gzip();
        var tar = new MemoryStream();

        var changes = await SingleIdRewrite.WriteAsync(new MemoryStream(layer), tar, whole, default);

        Assert.Equal((1, 1), (changes.Entries, changes.SetIds));
        Assert.Equal(["b"], changes.SetIdFiles);
        var (facts, _, _) = await LayerFacts.ReadAsync(new MemoryStream(tar.ToArray()), default);
        Assert.Equal([0x1ed, 0x1ed], facts!.Entries.Select(e => e.Mode));
    }

    [Fact]
    public async Task A_tree_that_is_too_deep_or_weighs_too_much_is_refused()
    {
        // Links make deep trees of short paths.
        var deep = new Tars();
        var path = string.Concat(Enumerable.Repeat("d/", 600));
        deep = deep.Directory(path.TrimEnd('/'), 0x1ed).Link("l", path.TrimEnd('/'));
        deep = deep.Directory("l/" + path.TrimEnd('/'), 0x1ed);
        await Assert.ThrowsAsync<OversizeException>(() => MergeAsync([deep.Gzip()], new MergeOptions()));
        var weight = new Weight();
        Assert.Throws<OversizeException>(() => weight.Add(Weight.Most));
    }

    private static async Task<byte[]> MergeAsync(
        byte[][] layers,
        MergeOptions options,
        Action<MergeReport>? told = null
    )
    {
        var tar = new MemoryStream();
        var report = await new LayerMerge(
            layers.Length,
            (layer, _) => new ValueTask<Stream>(new MemoryStream(layers[layer])),
            options
        ).WriteAsync(tar, TestContext.Current.CancellationToken);
        told?.Invoke(report);
        return tar.ToArray();
    }

    // Without the root, which is always there.
    private static async Task<List<string>> ListAsync(byte[] tar)
    {
        var reader = new RawTarReader(new MemoryStream(tar));
        var all = new List<string>();
        while (await reader.NextAsync(default) is { } entry)
        {
            var content = new byte[entry.Size];
            for (int at = 0, read; (read = await reader.ReadAsync(content.AsMemory(at), default)) > 0; at += read) { }
            all.Add(
                entry.Path
                    + entry.Type switch
                    {
                        RawEntry.Directory => "/",
                        RawEntry.SymbolicLink => $" -> {entry.Target}",
                        RawEntry.HardLink => $" = {entry.Target}",
                        RawEntry.OldSparse => $" {entry.Size} of a file with holes",
                        _ when entry.IsDevice => " device",
                        _ => " " + Encoding.UTF8.GetString(content),
                    }
            );
        }

        Assert.Equal("/", all[0]);
        return all[1..];
    }

    private static void Rechecked(byte[] header)
    {
        header.AsSpan(148, 8).Fill((byte)' ');
        Encoding.ASCII.GetBytes(Convert.ToString(header.Sum(b => b), 8).PadLeft(6, '0') + "\0 ").CopyTo(header, 148);
    }
}
