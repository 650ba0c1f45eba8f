using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Storage;

/// <summary>
/// Tells at a start whether the machine went down under a server that did not wait for its disk: then blobs may have lost bytes
/// that the database speaks of. The file <c>relaxed</c> in the data directory is there while such a server runs, and names
/// the boot of the machine; a crash of the server alone costs nothing, since the kernel still writes what it has.
/// </summary>
internal sealed partial class DurabilityMark(DataDirectory directory, ILogger<DurabilityMark> log) : IHostedService
{
    private const string BootId = "/proc/sys/kernel/random/boot_id";

    private string Mark => Path.Combine(directory.Root, "relaxed");

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var boot = File.Exists(BootId) ? File.ReadAllText(BootId).Trim() : "unknown";
        if (File.Exists(Mark))
        {
            if (File.ReadAllText(Mark) != boot)
            {
                File.WriteAllText(directory.Unchecked, "");
            }

            // What a server left that was killed may not be on the disk yet; the mark goes when it is.
            Posix.FlushFileSystem(directory.Root);
            File.Delete(Mark);
        }

        if (File.Exists(directory.Unchecked))
        {
            LogWentDown(log);
        }

        if (!directory.Disk.IsSynced)
        {
            LogRelaxed(log);
            File.WriteAllText(Mark, boot);
            // Of all files this one must be there after a power cut.
            Posix.FlushFileSystem(directory.Root);
        }

        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken)
    {
        if (!directory.Disk.IsSynced)
        {
            Posix.FlushFileSystem(directory.Root);
            File.Delete(Mark);
        }

        return Task.CompletedTask;
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Writes are acknowledged before they are on the disk (durability: relaxed): a power cut may lose the last of them"
    )]
    private static partial void LogRelaxed(ILogger log);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The machine went down while this server ran with durability: relaxed. Stop it and run 'kiln fsck --repair': blobs may have lost bytes"
    )]
    private static partial void LogWentDown(ILogger log);
}
