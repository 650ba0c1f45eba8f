using Kiln.Node;
using Kiln.Node.Launchers;
using Kiln.Server.Storage;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Builds.Leases;

/// <summary>The build node inside <c>kiln serve</c>: the same code and the same lease steps as a node far away.</summary>
internal sealed class LocalNode(
    BuildOptions options,
    DataDirectory directory,
    IBuildCoordinator coordinator,
    NodeStatus status,
    TimeProvider time,
    ILogger<BuildNode> log
) : BackgroundService
{
    public const string Name = "local";

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var node = new NodeOptions
        {
            Directory = directory.Node,
            Name = Name,
            Concurrency = options.Concurrency,
            Unsafe = options.Unsafe,
            SingleId = options.SingleId,
            AllowHostNetwork = options.AllowHostNetwork,
            AllowEmulation = options.AllowEmulation,
            ApptainerRoot = options.ApptainerRoot,
            InsecureRegistries = options.InsecureRegistries,
            MemoryBytes = options.MemoryBytes,
            DiskBytes = options.DiskBytes,
            Processes = options.Processes,
            FreeDiskFloorBytes = options.FreeDiskFloorBytes,
            MaxContextBytes = options.MaxContextBytes,
        };
        using var worker = new BuildNode(new LocalLauncher(node, time, log), node, status, time, log);
        try
        {
            await worker.PrepareAsync(stoppingToken);
            await worker.RunAsync(coordinator, stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops before the node has looked around; nothing is amiss.
        }
    }
}
