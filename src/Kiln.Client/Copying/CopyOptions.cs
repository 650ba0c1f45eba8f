using Kiln.Oci;

namespace Kiln.Client.Copying;

/// <summary>What a copy takes along.</summary>
public sealed record CopyOptions
{
    /// <summary>Blobs of a manifest that are under way at a time.</summary>
    public int Parallel { get; init; } = 4;

    /// <summary>Whether manifests that name a copied one as their subject come along, and those that name these.</summary>
    public bool Referrers { get; init; }

    /// <summary>
    /// Which entries of indexes are copied; null takes all. An index keeps its bytes: without all of its entries it is
    /// sparse, which a registry may refuse.
    /// </summary>
    public Func<Descriptor, bool>? Takes { get; init; }

    /// <summary>Told of each manifest and blob once it is in the target. Called from several threads.</summary>
    public Action<CopyStep>? Report { get; init; }
}

/// <summary>Something that is in the target now.</summary>
/// <param name="WasThere">It was there before, so that nothing was sent.</param>
public sealed record CopyStep(Descriptor What, bool IsManifest, bool WasThere);

/// <summary>What a copy did so far. Bytes are those of blobs and manifests that were sent.</summary>
public sealed record CopyTally(long Manifests, long Blobs, long Bytes, long WereThere);
