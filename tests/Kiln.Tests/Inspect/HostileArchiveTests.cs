using Kiln.Inspect;

namespace Kiln.Tests.Inspect;

/// <summary>Archives that were made to cost: their sizes are believed as far as bytes have come.</summary>
public sealed class HostileArchiveTests
{
    private const long TwoGigabytes = 2_000_000_000;
    private static readonly ContextLimits Limits = new(1 << 20, 100_000);

    [Theory]
    [InlineData('x', false)]
    [InlineData('x', true)]
    [InlineData('g', false)]
    [InlineData('L', false)]
    [InlineData('K', true)]
    public async Task A_header_that_claims_gigabytes_takes_no_memory(char type, bool binary)
    {
        var tar = new byte[64 << 10];
        Tars.Header("h", type, TwoGigabytes, binary).CopyTo(tar, 0);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var (facts, _, fault) = await LayerFacts.ReadAsync(new MemoryStream(tar), default);
        var used = GC.GetAllocatedBytesForCurrentThread() - before;

        Assert.Null(facts);
        Assert.Contains("2000000000 bytes", fault, StringComparison.Ordinal);
        Assert.True(used < 4 << 20, $"it took {used} bytes");
    }

    [Fact]
    public async Task It_is_found_behind_a_size_that_a_pax_header_changed()
    {
        // The file's own header says 1024, the pax header before it 0: what looks like its content is the next header.
        byte[] tar =
        [
            .. Tars.Header("p", 'x', 10, binary: false),
            .. Tars.Padded("10 size=0\n"),
            .. Tars.Header("f", '0', 1024, binary: false),
            .. Tars.Header("h", 'x', TwoGigabytes, binary: false),
            .. new byte[4096],
        ];

        var (_, _, fault) = await LayerFacts.ReadAsync(new MemoryStream(tar), default);

        Assert.Contains("2000000000 bytes", fault, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Long_names_and_large_attributes_are_read_as_ever()
    {
        var path = string.Join('/', Enumerable.Repeat("directory", 200));

        var (facts, _, fault) = await LayerFacts.ReadAsync(
            new MemoryStream(new Tars().File(path, "x").WithCapability("b").File("c", "content").Gzip()),
            default
        );

        Assert.Null(fault);
        Assert.Equal([path, "b", "c"], facts!.Entries.Select(e => e.Path));
    }

    [Fact]
    public async Task Paths_deeper_than_anybody_has_them_are_not_measured()
    {
        var path = string.Join('/', Enumerable.Repeat("d", 300));

        var (facts, diffId, fault) = await LayerFacts.ReadAsync(
            new MemoryStream(new Tars().File(path).Gzip()),
            default
        );

        Assert.Null(facts);
        Assert.NotNull(diffId);
        Assert.Contains("256 directories deep", fault, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_unpacks_to_more_than_files_do_is_not_unpacked()
    {
        var zeros = new byte[256 << 20];
        using var compressor = new ZstdSharp.Compressor();
        var bomb = compressor.Wrap(zeros).ToArray();
        Assert.True(bomb.Length < 64 << 10, $"{bomb.Length}");

        var (facts, diffId, fault) = await LayerFacts.ReadAsync(new MemoryStream(bomb), default);

        Assert.Null(facts);
        Assert.Null(diffId);
        Assert.Contains("unpacks to", fault, StringComparison.Ordinal);
        // Deflate cannot do that, so nothing that gzip made is refused.
        var (_, whole, _) = await LayerFacts.ReadAsync(new MemoryStream(Tars.Gzip(zeros)), default);
        Assert.NotNull(whole);
    }

    [Fact]
    public async Task Paths_of_a_context_have_a_limit_with_all_the_directories_above_them()
    {
        var tar = new Tars();
        for (var i = 0; i < 40; i++)
        {
            tar.File($"{i}/{string.Concat(Enumerable.Repeat("a/", 2000))}f");
        }

        var (_, fault) = await ContextTree.ReadAsync(new MemoryStream(tar.Bytes()), 0, Limits, default);

        Assert.True(fault!.TooLarge, fault.Message);
        Assert.Contains("characters", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_context_replaces_some_directories_by_files_but_not_thousands()
    {
        var tar = new Tars();
        for (var i = 0; i < 200; i++)
        {
            tar.Directory("a").File("a");
        }

        var (_, fault) = await ContextTree.ReadAsync(new MemoryStream(tar.Bytes()), 0, Limits, default);

        Assert.Contains("replaces", fault!.Message, StringComparison.Ordinal);
    }
}
