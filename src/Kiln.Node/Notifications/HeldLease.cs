using System.Collections.Concurrent;
using Kiln.Client.Registry;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>A build that this node works on, and what was learned of its inputs and product on the way.</summary>
internal sealed class HeldLease(WatchedPlace place, WatchedBuild build, WatchedTask task)
{
    public WatchedPlace Place { get; } = place;
    public RemoteRepository Repository { get; } = place.Of(build.Repository);

    /// <summary>Id of the build.</summary>
    public string Build { get; } = build.Id;

    /// <summary>Id of the task in it.</summary>
    public string Task { get; } = task.Id;
    public string? Microarchitecture { get; } = task.Microarchitecture;

    /// <summary>Tree digests of contexts, by blob and by how much was stripped.</summary>
    public ConcurrentDictionary<(Digest Blob, int Strip), Digest> Trees { get; } = new();

    /// <summary>What is in layers that were pushed.</summary>
    public ConcurrentDictionary<Digest, (LayerFacts? Facts, Digest? DiffId)> Layers { get; } = new();

    /// <summary>Manifests that were pushed.</summary>
    public ConcurrentDictionary<Digest, byte[]> Manifests { get; } = new();

    public SemaphoreSlim Log { get; } = new(1, 1);

    /// <summary>Whether no more of it is kept.</summary>
    public bool LogIsFull { get; set; }
}
