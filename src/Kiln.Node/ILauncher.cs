using Kiln.BuildSpec;

namespace Kiln.Node;

/// <summary>
/// How a node's leases are built: in its own process, or by a batch system that starts <c>kiln</c> on another machine.
/// </summary>
public interface ILauncher : IDisposable
{
    /// <summary>
    /// Finds out what can be built, and removes what a killed node left. Called once, before all else. Whatever is amiss:
    /// then nothing is built, and the abilities say why.
    /// </summary>
    Task<NodeAbilities> PrepareAsync(CancellationToken cancel);

    /// <summary>
    /// Builds that an earlier process of this node began and that still go on elsewhere, each until its end. Called once.
    /// </summary>
    IReadOnlyList<ResumedBuild> Resume(IBuildCoordinator coordinator, CancellationToken stop) => [];

    /// <summary>
    /// Takes a lease to its end. With <paramref name="stop"/> it comes back soon, and what then becomes of the build is the
    /// launcher's: given back, or going on without this process.
    /// </summary>
    Task RunAsync(Lease lease, IBuildCoordinator coordinator, CancellationToken stop);
}

/// <summary>A build that an earlier process of this node began.</summary>
/// <param name="Running">Lives through it to its end.</param>
public sealed record ResumedBuild(Lease Lease, Task Running);
