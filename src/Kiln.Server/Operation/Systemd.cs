using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Kiln.Server.Operation;

/// <summary>
/// Tells systemd how the service is (sd_notify(3)): a datagram to the socket that <c>NOTIFY_SOCKET</c> names. Without that
/// variable nothing is said.
/// </summary>
internal sealed class Systemd(string? socket, TimeSpan? watchdog)
{
    private readonly Lock _lock = new();

    /// <summary>What this process's environment says.</summary>
    public static Systemd OfProcess()
    {
        // WATCHDOG_PID: another process of the unit may be the one that is watched.
        var pid = Environment.GetEnvironmentVariable("WATCHDOG_PID");
        var watched =
            (pid is null || pid == Environment.ProcessId.ToString(CultureInfo.InvariantCulture))
            && long.TryParse(
                Environment.GetEnvironmentVariable("WATCHDOG_USEC"),
                NumberStyles.None,
                CultureInfo.InvariantCulture,
                out var microseconds
            )
                ? microseconds
                : 0;
        return new Systemd(
            Environment.GetEnvironmentVariable("NOTIFY_SOCKET"),
            watched > 0 ? TimeSpan.FromMicroseconds(watched) : null
        );
    }

    /// <summary>How often to say <see cref="Alive"/>: half of what systemd waits; null where it does not.</summary>
    public TimeSpan? Interval => watchdog / 2;

    public void Ready() => Say($"READY=1\nMAINPID={Environment.ProcessId}\nSTATUS=serving");

    public void Alive() => Say("WATCHDOG=1");

    public void Stopping() => Say("STOPPING=1\nSTATUS=stopping: requests under way may finish");

    /// <summary>Files are read again; <see cref="Ready"/> follows (Type=notify-reload).</summary>
    public void Reloading()
    {
        // The time of CLOCK_MONOTONIC, so that systemd knows which of several reloads is meant.
        var microseconds = Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1_000_000);
        Say(string.Create(CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    private void Say(string state)
    {
        if (string.IsNullOrEmpty(socket))
        {
            return;
        }

        try
        {
            // A name that begins with @ is in the abstract namespace.
            var name = socket[0] == '@' ? '\0' + socket[1..] : socket;
            lock (_lock)
            {
                using var sender = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
                sender.SendTo(Encoding.UTF8.GetBytes(state), new UnixDomainSocketEndPoint(name));
            }
        }
        catch (SocketException)
        {
            // Nobody listens any more; the server's work does not depend on it.
        }
    }
}
