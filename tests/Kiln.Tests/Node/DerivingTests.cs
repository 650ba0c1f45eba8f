using Kiln.Node.Deriving;
using Kiln.Node.Sandbox;

namespace Kiln.Tests.Node;

/// <summary>What of making a format is the image's fault, what a limit, and what the machine's.</summary>
public sealed class DerivingTests : IDisposable
{
    private static readonly BuildLimits Limits = new(256 << 20, 1 << 20, 100, 0);
    private readonly string _home = Directory.CreateTempSubdirectory("kiln-deriving-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_home, recursive: true);

    [Theory]
    [InlineData("cat >/dev/null; echo 'FATAL ERROR: no space left on device' >&2; exit 1", "no space left")]
    [InlineData("kill -KILL $$", "exit code 137")]
    // Ends well, and has not read all.
    [InlineData("exit 0", "exit code 0")]
    public async Task A_program_that_fails_is_the_machines_fault(string script, string said)
    {
        var fault = await Assert.ThrowsAsync<IOException>(() => MakeAsync(script, WriteMuchAsync));

        Assert.Contains(said, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_grows_past_the_limit_is_a_limit()
    {
        var fault = await Assert.ThrowsAsync<DerivationException>(() =>
            MakeAsync("exec dd if=/dev/zero of=\"$2\" bs=65536 count=100", WriteMuchAsync)
        );

        Assert.True(fault.IsLimit);
    }

    [Fact]
    public async Task A_layer_that_cannot_be_read_is_told_as_that()
    {
        var fault = await Assert.ThrowsAsync<IOException>(() =>
            MakeAsync("cat >/dev/null", (_, _) => throw new IOException("the disk has a bad block"))
        );

        Assert.Equal("the disk has a bad block", fault.Message);
    }

    [Fact]
    public async Task Nothing_is_written_where_the_disk_is_nearly_full()
    {
        var full = Limits with { FreeDiskFloorBytes = long.MaxValue };
        var fault = await Assert.ThrowsAsync<IOException>(() => MakeAsync("cat >/dev/null", WriteMuchAsync, full));
        Assert.Contains("disk has less than", fault.Message, StringComparison.Ordinal);

        await using var file = new DiskGuard(full, _home).Bound(new MemoryStream());
        await Assert.ThrowsAsync<IOException>(async () => await file.WriteAsync(new byte[1], Cancel));
    }

    [Fact]
    public async Task A_layer_that_is_written_anew_has_the_limit_of_a_build()
    {
        var written = new MemoryStream();
        await using var file = new DiskGuard(Limits, _home).Bound(written);
        await file.WriteAsync(new byte[Limits.DiskBytes], Cancel);

        var fault = await Assert.ThrowsAsync<DerivationException>(async () =>
            await file.WriteAsync(new byte[1], Cancel)
        );

        Assert.True(fault.IsLimit);
        Assert.Equal(Limits.DiskBytes, written.Length);
    }

    [Theory]
    [InlineData("cat >\"$2\"", null)]
    [InlineData(
        "echo 'mksquashfs: invalid option'; echo 'SYNTAX: ...'; exit 1",
        "with zstd: mksquashfs failed (exit code 1): mksquashfs: invalid option"
    )]
    [InlineData("case $* in *lz4*) echo 'no lz4 in it'; exit 1;; esac; cat >\"$2\"", "with lz4: mksquashfs failed")]
    [InlineData("cat >/dev/null", "made nothing")]
    public async Task A_program_is_offered_when_it_has_made_a_file_of_a_tar_in_all_ways(string script, string? why)
    {
        var lacking = await SquashfsProbe.UnavailableAsync(_home, Program(script), Cancel);

        if (why is null)
        {
            Assert.Null(lacking);
        }
        else
        {
            Assert.Contains(why, lacking, StringComparison.Ordinal);
            Assert.Contains("squashfs-tools 4.5 or later", lacking, StringComparison.Ordinal);
        }

        Assert.Equal(["mksquashfs"], Directory.EnumerateFileSystemEntries(_home).Select(Path.GetFileName));
    }

    [Fact]
    public async Task A_machine_without_the_program_offers_what_needs_none() =>
        Assert.StartsWith(
            "there is no mksquashfs",
            await SquashfsProbe.UnavailableAsync(_home, program: null, Cancel),
            StringComparison.Ordinal
        );

    // More than a pipe holds.
    private static async Task WriteMuchAsync(Stream tar, CancellationToken cancel)
    {
        for (var i = 0; i < 64; i++)
        {
            await tar.WriteAsync(new byte[1 << 16], cancel);
        }
    }

    private Task MakeAsync(string script, Func<Stream, CancellationToken, Task> write, BuildLimits? limits = null) =>
        new Squashfs("zstd", 0, limits ?? Limits) { Program = Program(script) }.MakeAsync(
            Path.Combine(_home, "file"),
            write,
            Cancel
        );

    // A mksquashfs of our own; its second argument is the file.
    private string Program(string script)
    {
        var program = Path.Combine(_home, "mksquashfs");
        File.WriteAllText(program, $"#!/bin/sh\n{script}\n");
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return program;
    }
}
