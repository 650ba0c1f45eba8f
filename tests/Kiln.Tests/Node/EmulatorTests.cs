using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>How the kernel is told of an emulator, and by what that is tried out.</summary>
public sealed class EmulatorTests
{
    // As Debian's qemu-user-static registers it, but for the path and the flags.
    [Theory]
    [InlineData("arm64", "aarch64", @"\x02\x00\xb7\x00")]
    [InlineData("amd64", "x86_64", @"\x02\x00\x3e\x00")]
    public void Rule_is_for_executable_files_of_the_other_family(string architecture, string qemu, string kind)
    {
        var rule = Of(architecture).Rule;
        Assert.Equal(
            $@":qemu-{qemu}:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00{kind}"
                + @":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/q:PF",
            rule
        );
        // The kernel's own limit.
        Assert.InRange(rule.Length, 1, 1920);
    }

    [Theory]
    [InlineData("amd64", "qemu-aarch64-static")]
    [InlineData("arm64", "qemu-x86_64-static")]
    public void A_family_needs_no_emulator_for_itself(string host, string program) =>
        Assert.Equal([program], Emulator.Programs(host));

    [Fact]
    public void Trial_runs_where_it_is_at_home()
    {
        var own =
            System.Runtime.InteropServices.RuntimeInformation.OSArchitecture
            is System.Runtime.InteropServices.Architecture.Arm64
                ? "arm64"
                : "amd64";
        var file = Path.Combine(Path.GetTempPath(), Guid.NewGuid().ToString("n"));
        try
        {
            File.WriteAllBytes(file, Of(own).Trial());
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            using var process = System.Diagnostics.Process.Start(file);
            process.WaitForExit();
            Assert.Equal(0, process.ExitCode);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static Emulator Of(string architecture) => new(new Platform("linux", architecture), "/usr/bin/q", "qemu");
}
