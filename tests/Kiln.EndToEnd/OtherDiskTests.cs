using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A server whose data directory is on a file system that takes no overlays: as NFS, and as the overlay of a container.</summary>
public sealed class OverlaidServer(Machine machine) : Server(machine)
{
    private readonly Machine _machine = machine;

    /// <summary>What the server has for TMPDIR.</summary>
    public string Disk { get; set; } = machine.In("other-disk");

    protected override IReadOnlyList<string> Program => ["env", $"TMPDIR={Disk}", .. _machine.Kiln];

    public override async ValueTask InitializeAsync()
    {
        if (!_machine.IsOther)
            return;
        var beside = Path.GetDirectoryName(DataDirectory)!;
        string[] parts = [DataDirectory, $"{beside}/lower", $"{beside}/upper", $"{beside}/work", Disk];
        _machine.RunAsUser(["mkdir", "-p", .. parts]).Ok();
        Machine
            .RunAsRoot(
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                $"lowerdir={parts[1]},upperdir={parts[2]},workdir={parts[3]}",
                DataDirectory
            )
            .Ok();
        await StartAsync();
    }

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        if (_machine.IsOther)
            Machine.RunAsRoot("umount", DataDirectory).Ok();
    }
}

/// <summary>Where images cannot be stacked in the node's own directory, they are on a disk of the machine's own, and that is said.</summary>
public sealed class OtherDiskTests(Machine machine, OverlaidServer server) : IClassFixture<OverlaidServer>
{
    [Fact]
    public async Task Builds_go_to_a_local_disk_or_a_sentence_says_why_there_are_none()
    {
        if (!machine.IsOther)
            Assert.Skip("NOT RUN: only root mounts a file system that takes no overlays");

        var busybox = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:1");
        await Builds.BuildOkAsync(server, "disk/app", "tag=1", $"FROM {busybox}\nRUN rm -r /var; echo made >/made\n");

        Assert.Contains("images cannot be stacked on the file system of", server.Log(), StringComparison.Ordinal);
        Assert.DoesNotContain("   at Kiln.", server.Log(), StringComparison.Ordinal);
        var place = Assert.Single(Directory.GetDirectories(server.Disk, "kiln-node-*"));
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
            File.GetUnixFileMode(place)
        );
        Assert.Single(Directory.GetDirectories(Path.Combine(place, "bases")));

        // A second start finds the same place; one that is somebody else's is not used.
        await server.StopAsync();
        Machine.RunAsRoot("chown", "root", place).Ok();
        await server.StartAsync();
        Assert.Contains("is not a directory of this account's own", Info(), StringComparison.Ordinal);
        Machine.RunAsRoot("chown", machine.User, place).Ok();

        await server.StopAsync();
        server.Disk = server.DataDirectory;
        await server.StartAsync();
        Assert.Contains("or name one in TMPDIR", Info(), StringComparison.Ordinal);
    }

    private string Info() => machine.RunKiln("info", server.Host).Ok().Output;
}
