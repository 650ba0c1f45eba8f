using System.Diagnostics;
using System.Globalization;

namespace Kiln.Node.Sandbox;

/// <summary>
/// A build's own network: slirp4netns(1) attached to its namespace, without the host's loopback. It ends when this process
/// does, since its stdin closes then.
/// </summary>
internal sealed class Slirp : IAsyncDisposable
{
    private const string TunDevice = "/dev/net/tun";
    private readonly Process _process;

    private Slirp(Process process) => _process = process;

    /// <summary>Null where builds can have a network of their own, else why they cannot.</summary>
    public static string? Unavailable()
    {
        if (Programs.Find("slirp4netns") is null)
        {
            return "slirp4netns is not installed";
        }

        try
        {
            using var tun = new FileStream(TunDevice, FileMode.Open, FileAccess.ReadWrite);
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"{TunDevice} cannot be opened by this user";
        }
    }

    /// <summary>Attaches a network to the namespaces of <paramref name="pid"/>; returns once it is up.</summary>
    public static async Task<Slirp> AttachAsync(int pid, CancellationToken cancel)
    {
        string[] arguments =
        [
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--enable-sandbox",
            "--enable-seccomp",
            "--ready-fd=1",
            "--exit-fd=0",
            pid.ToString(CultureInfo.InvariantCulture),
            "tap0",
        ];
        var slirp = new Slirp(new Process { StartInfo = Programs.Start("slirp4netns", arguments) });
        slirp._process.Start();
        try
        {
            var errors = slirp._process.StandardError.ReadToEndAsync(CancellationToken.None);
            return await slirp._process.StandardOutput.BaseStream.ReadAsync(new byte[1], cancel) == 1
                ? slirp
                : throw new SandboxException($"the build's network could not be made: {(await errors).Trim()}");
        }
        catch
        {
            await slirp.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        // It holds nothing that it would have to put in order, and must not hold up the build's end.
        _process.Kill();
        await _process.WaitForExitAsync(CancellationToken.None);
        _process.Dispose();
    }
}
