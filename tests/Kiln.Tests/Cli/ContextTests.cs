using System.Diagnostics;
using System.Formats.Tar;
using System.IO.Compression;
using System.Net.Sockets;
using Kiln.Cli.Context;

namespace Kiln.Tests.Cli;

public sealed class ContextTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kiln-context-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task The_same_files_are_the_same_blob_whatever_their_times_and_order()
    {
        string[] names = ["b", "a/z", "a/b", "c"];
        var first = await PackAsync(names);
        Directory.Delete(_root, recursive: true);
        var second = await PackAsync([.. names.Reverse()], DateTime.UnixEpoch.AddYears(40));

        Assert.Equal(first, second);
    }

    [Fact]
    public async Task A_changed_mode_is_another_blob()
    {
        var first = await PackAsync(["a"]);
        File.SetUnixFileMode(Path.Combine(_root, "a"), UnixFileMode.UserRead | UnixFileMode.UserExecute);

        Assert.NotEqual(first, await PackAsync([]));
    }

    [Fact]
    public async Task Entries_carry_modes_and_links_and_nobody_as_owner()
    {
        Write("bin/tool", UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.GroupExecute);
        File.CreateSymbolicLink(Path.Combine(_root, "link"), "../outside");
        Write(new string('n', 150) + "/" + new string('m', 150));

        var entries = await UnpackAsync();

        Assert.Equal(["bin/", "bin/tool", "link"], entries.Select(e => e.Name).Take(3));
        Assert.Equal(301, entries[^1].Name.Length);
        Assert.Equal("../outside", entries[2].LinkName);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.GroupExecute, entries[1].Mode);
        Assert.All(entries, e => Assert.Equal((0, 0, 1980), (e.Uid, e.Gid, e.ModificationTime.Year)));
    }

    [Fact]
    public async Task What_a_negated_pattern_takes_back_comes_with_its_directories()
    {
        Write("a/b/keep");
        Write("a/b/drop");
        Write("a/other/drop");
        Write("top");

        var entries = await UnpackAsync("*", "!a/b/keep");

        Assert.Equal(["a/", "a/b/", "a/b/keep"], entries.Select(e => e.Name));
    }

    [Fact]
    public void A_pipe_or_socket_is_refused_with_its_name_unless_it_is_ignored()
    {
        using (var made = Process.Start("mkfifo", Path.Combine(_root, "pipe")))
        {
            made.WaitForExit();
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(Path.Combine(_root, "socket")));

        var e = Assert.Throws<InvalidDataException>(() => ContextTree.Read(_root, IgnorePatterns.None));

        Assert.Matches("'(pipe|socket)' cannot be sent: it is a socket, a pipe or a device", e.Message);
        Assert.Empty(ContextTree.Read(_root, IgnorePatterns.Parse(["pipe", "socket"], "")));
    }

    [Fact]
    public async Task A_context_over_the_limit_is_refused_and_leaves_no_file()
    {
        File.WriteAllBytes(Path.Combine(_root, "big"), Client.TestRegistry.Random(3_000_000));

        var e = await Assert.ThrowsAsync<InvalidDataException>(() =>
            ContextArchive.PackAsync(ContextTree.Read(_root, IgnorePatterns.None), 1_000_000, _root, Cancel)
        );

        Assert.Contains("1 MB", e.Message);
        Assert.Equal(["big"], Directory.GetFiles(_root).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("Containerfile Dockerfile x.def", "Containerfile")]
    [InlineData("Dockerfile x.def", "Dockerfile")]
    [InlineData("x.def", "x.def")]
    [InlineData("x.def y.def", null)]
    [InlineData("other", null)]
    public async Task The_recipe_is_found_by_name(string files, string? expected)
    {
        foreach (var name in files.Split(' '))
        {
            Write(name);
        }

        var reading = RecipeFile.ReadAsync(null, _root, TestShell.Create(), Cancel);

        if (expected is null)
        {
            await Assert.ThrowsAsync<Kiln.Cli.CommandFailure>(() => reading);
        }
        else
        {
            Assert.Equal(expected, Path.GetFileName((await reading).Path));
        }
    }

    [Theory]
    [InlineData("Containerfile", "FROM scratch", "dockerfile")]
    [InlineData("my.def", "# x\nBootstrap: docker", "singularity")]
    [InlineData("recipe", "# x\n\nBootStrap: docker\nFrom: x", "singularity")]
    [InlineData("recipe", "# syntax=x\nFROM scratch", "dockerfile")]
    public async Task The_recipes_kind_is_told_by_name_or_header(string name, string text, string kind)
    {
        File.WriteAllText(Path.Combine(_root, name), text);

        var recipe = await RecipeFile.ReadAsync(name, _root, TestShell.Create(), Cancel);

        Assert.Equal(kind, Kiln.BuildSpec.BuildMediaTypes.RecipeType(recipe.MediaType));
    }

    private async Task<string> PackAsync(string[] names, DateTime? time = null)
    {
        foreach (var name in names)
        {
            Write(name);
            File.SetLastWriteTimeUtc(Path.Combine(_root, name), time ?? DateTime.UnixEpoch.AddYears(50));
        }

        using var archive = await ContextArchive.PackAsync(
            ContextTree.Read(_root, IgnorePatterns.None),
            long.MaxValue,
            Path.GetTempPath(),
            Cancel
        );
        return archive.Descriptor.Digest.ToString();
    }

    private async Task<List<TarEntry>> UnpackAsync(params string[] ignore)
    {
        using var archive = await ContextArchive.PackAsync(
            ContextTree.Read(_root, IgnorePatterns.Parse(ignore, "")),
            long.MaxValue,
            Path.GetTempPath(),
            Cancel
        );
        await using var gzip = new GZipStream(archive.Open(), CompressionMode.Decompress);
        await using var tar = new TarReader(gzip);
        var entries = new List<TarEntry>();
        while (await tar.GetNextEntryAsync(copyData: true, Cancel) is { } entry)
        {
            entries.Add(entry);
        }

        return entries;
    }

    private void Write(string name, UnixFileMode mode = UnixFileMode.UserRead | UnixFileMode.UserWrite)
    {
        var path = Path.Combine(_root, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, name);
        File.SetUnixFileMode(path, mode);
    }
}
