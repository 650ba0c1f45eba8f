using System.Security.Cryptography;
using System.Text;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Tests.Inspect;

/// <summary>The tree digest: the same files are the same context, and nothing leaves the context.</summary>
public sealed class ContextTreeTests
{
    private static readonly ContextLimits Limits = new(1 << 20, 1000);

    [Fact]
    public async Task Digest_is_that_of_the_canonical_form()
    {
        var tar = new Tars().File("b", "beta", mode: 0x1ed).File("a/x", "ex").Link("c", "b").Bytes();

        var expected =
            "d 0755 - 1:a\n" + $"f 0644 {Sha("ex")} 3:a/x\n" + $"f 0755 {Sha("beta")} 1:b\n" + "l 0777 1:b 1:c\n";
        Assert.Equal(Digest.Of(Encoding.UTF8.GetBytes(expected)), (await ReadAsync(tar)).Digest);
    }

    [Fact]
    public async Task Times_owners_order_and_compression_do_not_count()
    {
        var one = await ReadAsync(
            new Tars().Directory("d", time: 5).File("d/a", "1", time: 7, owner: 3).File("b", "2").Bytes()
        );
        var two = await ReadAsync(new Tars().File("./b", "2", time: 9).Directory("d/").File("d/a", "1").Gzip());
        var three = await ReadAsync(new Tars().File("d/a", "1", group: 4).File("b", "2").Zstd());

        Assert.Equal(one.Digest, two.Digest);
        Assert.Equal(one.Digest, three.Digest);
    }

    [Fact]
    public async Task Content_mode_name_and_link_target_count()
    {
        var trees = new[]
        {
            new Tars().File("a", "1"),
            new Tars().File("a", "2"),
            new Tars().File("a", "1", mode: 0x1ed),
            new Tars().File("b", "1"),
            new Tars().Link("a", "1"),
            new Tars().Link("a", "2"),
            new Tars().Directory("a"),
        };
        var digests = new HashSet<Digest>();
        foreach (var tree in trees)
        {
            digests.Add((await ReadAsync(tree.Bytes())).Digest);
        }

        Assert.Equal(trees.Length, digests.Count);
    }

    [Fact]
    public async Task Later_entries_override_earlier_ones_and_hard_links_are_files()
    {
        var twice = await ReadAsync(new Tars().File("a", "old").File("a", "new").HardLink("b", "a").Bytes());
        var once = await ReadAsync(new Tars().File("a", "new").File("b", "new").Bytes());

        Assert.Equal(once.Digest, twice.Digest);
    }

    [Fact]
    public async Task Stripped_components_vanish()
    {
        var packed = await ReadAsync(new Tars().Directory("ctx").File("ctx/a", "1").Bytes(), strip: 1);
        var plain = await ReadAsync(new Tars().File("a", "1").Bytes());

        Assert.Equal(plain.Digest, packed.Digest);
    }

    [Theory]
    [InlineData("../outside", "leaves")]
    [InlineData("a/../../b", "leaves")]
    [InlineData("/etc/passwd", "absolute")]
    public async Task Paths_that_escape_are_refused(string path, string why)
    {
        var (_, fault) = await TryAsync(new Tars().File(path, "x").Bytes());

        Assert.Contains(why, fault!.Message);
        Assert.False(fault.TooLarge);
    }

    [Fact]
    public async Task Files_below_a_link_and_devices_are_refused()
    {
        Assert.NotNull((await TryAsync(new Tars().Link("a", "/etc").File("a/passwd", "x").Bytes())).Fault);
        Assert.NotNull((await TryAsync(new Tars().Device("null").Bytes())).Fault);
    }

    [Fact]
    public async Task More_than_the_limit_is_too_large()
    {
        var big = new string('x', 2 << 20);
        Assert.True((await TryAsync(new Tars().File("a", big).Gzip())).Fault!.TooLarge);

        var many = new Tars();
        for (var i = 0; i <= Limits.MaxEntries; i++)
        {
            many.File($"f{i}");
        }

        Assert.True((await TryAsync(many.Bytes())).Fault!.TooLarge);
    }

    [Fact]
    public async Task Garbage_is_a_fault_and_never_an_exception()
    {
        foreach (var garbage in new[] { Samples.Bytes(3000), [0x1f, 0x8b, 1, 2, 3], "#!/bin/sh\n"u8.ToArray() })
        {
            Assert.NotNull((await TryAsync(garbage)).Fault);
        }

        var broken = new Tars().File("a", new string('x', 4000)).Gzip();
        Assert.NotNull((await TryAsync(broken[..(broken.Length / 2)])).Fault);
    }

    private static async Task<ContextTree> ReadAsync(byte[] blob, int strip = 0)
    {
        var (tree, fault) = await TryAsync(blob, strip);
        Assert.Null(fault);
        return tree!;
    }

    private static Task<(ContextTree? Tree, TarFault? Fault)> TryAsync(byte[] blob, int strip = 0) =>
        ContextTree.ReadAsync(new MemoryStream(blob), strip, Limits, TestContext.Current.CancellationToken);

    private static string Sha(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
