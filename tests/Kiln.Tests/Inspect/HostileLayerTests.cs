using System.Text;
using Kiln.Inspect;
using Kiln.Inspect.Rewriting;

namespace Kiln.Tests.Inspect;

/// <summary>Layers that are made to hurt whoever writes them anew, or to get something past them.</summary>
public sealed class HostileLayerTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void What_is_kept_of_directories_has_a_bound()
    {
        var tree = new MergedTree();
        var records = new List<KeyValuePair<string, string>> { new("comment", new string('x', 1 << 20)) };

        // 10,000 of them would be 20 gigabytes.
        var fault = Assert.Throws<OversizeException>(() =>
        {
            for (var i = 0; i < 10_000; i++)
            {
                tree.Add(0, i, Directory($"d{i}") with { Records = records });
            }
        });

        Assert.Contains("too long", fault.Message, StringComparison.Ordinal);
        Assert.InRange(tree.Count, 200, 300);
    }

    [Fact]
    public void So_have_many_small_attributes_and_long_targets()
    {
        var records = Enumerable.Range(0, 100_000).Select(i => KeyValuePair.Create($"a{i}", "")).ToList();
        Assert.Throws<OversizeException>(() => Fill(i => Directory($"d{i}") with { Records = records }, 100));
        // The same text each time: what it would weigh is what counts.
        var target = new string('x', 4000);
        Assert.Throws<OversizeException>(() => Fill(i => Link($"l{i}", target), 100_000));
        Assert.Throws<InvalidDataException>(() => Fill(i => Link($"l{i}", new string('x', 5000)), 1));
    }

    [Fact]
    public void Links_do_not_make_a_tree_deeper_than_can_be()
    {
        var tree = new MergedTree();
        var deep = string.Join('/', Enumerable.Repeat("d", 400));
        var index = 0;
        // Each of the links leads from where the last one led to: the path to it is short, the directory deep.
        var fault = Assert.Throws<OversizeException>(() =>
        {
            for (var i = 0; i < 30; i++)
            {
                var at = i == 0 ? deep : $"l{i - 1}/{deep}";
                tree.Add(0, index++, Directory(at));
                tree.Add(0, index++, Link($"l{i}", at));
            }
        });

        Assert.Contains("more than 1000 directories", fault.Message, StringComparison.Ordinal);
        // What is there can be taken away, which goes down as deep as it is.
        tree.Add(
            1,
            0,
            new RawEntry
            {
                Path = ".wh..wh..opq",
                Type = RawEntry.File,
                Mode = 0,
            }
        );
        Assert.Single(tree.Directories());
    }

    [Fact]
    public void Added_files_take_no_place_of_what_is_behind_a_link()
    {
        var tree = new MergedTree();
        tree.Add(0, 0, Directory("run/etc"));
        tree.Add(0, 1, File("run/etc/hosts"));
        tree.Add(0, 2, Link("etc", "run/etc"));
        tree.Add(0, 3, Link("a", "b"));
        tree.Add(0, 4, Link("b", "a"));

        Assert.True(tree.Has("etc"));
        Assert.True(tree.Has("etc/hosts"));
        Assert.False(tree.Has("etc/passwd"));
        Assert.True(tree.Has("a"));
        Assert.False(tree.Has("a/x"));
        Assert.False(tree.Has("none/x"));
    }

    [Theory]
    [InlineData('x')]
    [InlineData('g')]
    [InlineData('L')]
    [InlineData('0')]
    public async Task Sizes_that_cannot_be_are_refused(char type)
    {
        foreach (var size in new[] { -1, long.MinValue, long.MaxValue })
        {
            byte[] layer = [.. Tars.Header("a", type, size, binary: true), .. new byte[1024]];
            await Assert.ThrowsAnyAsync<Exception>(() => RewriteAsync(layer, whole: true));
            var fault = await Record.ExceptionAsync(() => RewriteAsync(layer, whole: true));
            Assert.True(LayerStream.IsFault(fault!), $"{size}: {fault!.GetType()}");
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task No_entry_hides_behind_the_size_of_one_that_has_no_content(bool whole)
    {
        // What goes by the size skips the program as a link's, a directory's or a global header's content.
        var program = Tars.Header("su", '0', 0, binary: false);
        Encoding.ASCII.GetBytes("0006755\0").CopyTo(program, 100);
        Rechecked(program);
        byte[] layer =
        [
            .. Tars.Header("d", '5', 512, binary: false),
            .. program,
            .. Tars.Header("l", '2', 512, binary: false),
            .. program,
            .. Tars.Header("p", '6', 512, binary: false),
            .. program,
            .. new byte[1024],
        ];

        var (changes, written) = await RewriteAsync(layer, whole);

        var reader = new RawTarReader(new MemoryStream(written));
        var found = new List<string>();
        while (await reader.NextAsync(Cancel) is { } entry)
        {
            found.Add(entry.Path);
            Assert.Equal((0, 0), (entry.Mode & RawEntry.SetIdBits, entry.Size));
        }

        Assert.Equal(["d", "su", "l", "su", "p", "su"], found);
        Assert.Equal(3, changes.SetIds);
    }

    [Fact]
    public async Task A_hard_link_to_a_device_goes_with_it_whatever_its_name_begins_with()
    {
        var layer = new Tars()
            .Device("dev/.hidden")
            .HardLink("dev/other", "./dev/.hidden")
            .Device(".null")
            .HardLink("zero", "/.null")
            .Device("was")
            .File("was", "no longer")
            .HardLink("is", "was")
            .Bytes();

        var (changes, written) = await RewriteAsync(layer, whole: true);

        var (facts, _, _) = await LayerFacts.ReadAsync(new MemoryStream(written), Cancel);
        Assert.Equal(
            ["dev/.wh..hidden", "dev/.wh.other", ".wh..null", ".wh.zero", ".wh.was", "was", "is"],
            facts!.Entries.Select(e => e.Path)
        );
        Assert.Equal(5, changes.Devices);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Paths_are_as_long_as_their_bytes(bool link)
    {
        // 3,000 bytes of UTF-8, which taken for characters would be 6,000.
        var path = string.Join('/', Enumerable.Repeat(new string('ö', 50), 30));
        var tar = new Tars().File(path, "1");
        byte[] layer = (link ? tar.HardLink("l", path) : tar).Bytes();

        var merged = new MemoryStream();
        await new LayerMerge(
            1,
            (_, _) => new ValueTask<Stream>(new MemoryStream(layer)),
            new MergeOptions()
        ).WriteAsync(merged, Cancel);
        var (_, written) = await RewriteAsync(layer, whole: true);

        foreach (var made in new[] { merged.ToArray(), written })
        {
            var (facts, _, _) = await LayerFacts.ReadAsync(new MemoryStream(made), Cancel);
            Assert.Contains(path, facts!.Entries.Select(e => e.Path));
        }
    }

    [Fact]
    public async Task What_a_link_says_of_its_file_again_is_counted_once()
    {
        var layer = new Tars()
            .File("a", "1", 0x9ed)
            .HardLink("b", "a", 0x9ed)
            .HardLink("c", "./b", 0x9ed)
            .File("d", "1", 0x9)
            .HardLink("e", "d", 0x9)
            .File("f", "1")
            .HardLink("g", "f", 0x0)
            .Bytes();

        var (changes, _) = await RewriteAsync(layer, whole: true);

        Assert.Equal((6, 1, 2), (changes.Entries, changes.SetIds, changes.Modes));
    }

    private static async Task<(SingleIdChanges Changes, byte[] Tar)> RewriteAsync(byte[] layer, bool whole)
    {
        var tar = new MemoryStream();
        var changes = await SingleIdRewrite.WriteAsync(new MemoryStream(layer), tar, whole, Cancel);
        return (changes, tar.ToArray());
    }

    private static void Rechecked(byte[] header)
    {
        header.AsSpan(148, 8).Fill((byte)' ');
        Encoding.ASCII.GetBytes(Convert.ToString(header.Sum(b => b), 8).PadLeft(6, '0') + "\0 ").CopyTo(header, 148);
    }

    private static void Fill(Func<int, RawEntry> entry, int count)
    {
        var tree = new MergedTree();
        for (var i = 0; i < count; i++)
        {
            tree.Add(0, i, entry(i));
        }
    }

    private static RawEntry Directory(string path) =>
        new()
        {
            Path = path,
            Type = RawEntry.Directory,
            Mode = 0x1ed,
        };

    private static RawEntry File(string path) =>
        new()
        {
            Path = path,
            Type = RawEntry.File,
            Mode = 0x1a4,
        };

    private static RawEntry Link(string path, string target) =>
        new()
        {
            Path = path,
            Type = RawEntry.SymbolicLink,
            Mode = 0x1ff,
            Target = target,
        };
}
