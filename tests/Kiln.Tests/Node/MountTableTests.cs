using Kiln.Node.Sandbox;

namespace Kiln.Tests.Node;

/// <summary>What a jail must keep of the mounts it inherits (mount_namespaces(7)).</summary>
public sealed class MountTableTests
{
    private static readonly MountTable Table = MountTable.Parse([
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
        "23 22 8:2 / /home rw,nosuid,nodev,noatime - ext4 /dev/sda2 rw",
        "24 22 8:3 / /usr rw - ext4 /dev/sda3 rw",
        @"25 24 0:30 / /usr/share/with\040blank ro,noexec - tmpfs tmpfs rw",
        "26 24 0:31 / /usr/share/with\\040blank/deep rw - tmpfs tmpfs rw",
        "27 22 0:32 / /usrlocal rw,nodev - tmpfs tmpfs rw",
        "28 22 8:4 / /home rw,noexec - ext4 /dev/sda4 rw",
    ]);

    [Theory]
    [InlineData("/etc", "")]
    [InlineData("/home/user", "noexec")]
    [InlineData("/usrlocal/x", "nodev")]
    [InlineData("/usr/share/with blank/file", "ro,noexec")]
    public void The_flags_are_those_of_the_mount_that_is_on_top(string path, string flags) =>
        Assert.Equal(flags, string.Join(',', Table.FlagsOf(path)));

    [Fact]
    public void Mounts_below_come_outer_ones_first_and_names_alike_do_not_count() =>
        Assert.Equal(["/usr/share/with blank", "/usr/share/with blank/deep"], Table.Below("/usr"));
}
