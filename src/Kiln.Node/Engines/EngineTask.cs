using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.Node.Engines;

/// <summary>Everything that an engine gets. Nothing in it is a credential for a registry.</summary>
public sealed record EngineTask
{
    /// <summary>This build's own directory; deleted when the build is over.</summary>
    public required string Directory { get; init; }

    /// <summary>Names the step cache that this build may read and, after success, add to: one for each repository.</summary>
    public required string CacheScope { get; init; }
    public required LeaseTask Task { get; init; }

    /// <summary>The recipe's text.</summary>
    public required string Recipe { get; init; }

    /// <summary>Plain tars with the build context, to be unpacked over each other in this order.</summary>
    public required IReadOnlyList<ContextArchive> Contexts { get; init; }

    /// <summary>
    /// Whether the product may name a blob without handing it over. A cached step whose layer the registry no longer has is
    /// worth nothing.
    /// </summary>
    public required Func<Digest, CancellationToken, Task<bool>> IsPublished { get; init; }

    /// <summary>The images that the recipe starts from or copies from, fetched and pinned.</summary>
    public required IReadOnlyList<FetchedBase> Bases { get; init; }
}

/// <summary>A tar in the build's directory; <see cref="Strip"/> leading components of its paths are dropped.</summary>
public sealed record ContextArchive(string File, int Strip);

/// <summary>A base image on this node's disk.</summary>
/// <param name="Reference">The reference as the recipe has it, build arguments filled in, and its platform.</param>
/// <param name="Manifest">The image manifest for the platform that is built.</param>
/// <param name="Layout">A directory with the image's verified blobs as an OCI image layout.</param>
/// <param name="Layers">Its layers' descriptors, in order.</param>
/// <param name="DiffIds">Their uncompressed digests, in order (from the config).</param>
public sealed record FetchedBase(
    BaseReference Reference,
    Digest Manifest,
    string Layout,
    IReadOnlyList<Descriptor> Layers,
    IReadOnlyList<Digest> DiffIds
);

/// <summary>How an engine's run ended.</summary>
public sealed record EngineResult
{
    /// <summary>Null where the build succeeded, else one of <see cref="FailureReasons"/>.</summary>
    public string? Reason { get; init; }
    public string? Message { get; init; }
    public int? ExitCode { get; init; }

    /// <summary>The image config's bytes.</summary>
    public byte[]? Config { get; init; }

    /// <summary>The reference and digest of the image that the product stands on; null for <c>scratch</c>.</summary>
    public FetchedBase? Base { get; init; }

    /// <summary>The image's layers, lowest first.</summary>
    public IReadOnlyList<EngineLayer> Layers { get; init; } = [];

    /// <summary>
    /// True where every change of owner was pretended: what the build wrote is published as root's, and without what would
    /// be more than that, set-id bits and capabilities.
    /// </summary>
    public bool SingleId { get; init; }
    public IReadOnlyList<BuildStep> Steps { get; init; } = [];
}

/// <summary>
/// A layer of the product: either known (a base's, or one that an earlier build handed over), then
/// <see cref="Known"/> names its blob; or new, then <see cref="Open"/> gives its compressed bytes.
/// </summary>
/// <param name="DiffId">Digest of the uncompressed tar, as the engine has it.</param>
/// <param name="Known">The blob, which is published already or belongs to a base.</param>
/// <param name="Open">Opens the new layer; its media type is <see cref="MediaType"/>, or it is a plain tar.</param>
/// <param name="MediaType">The media type of the new blob.</param>
public sealed record EngineLayer(Digest DiffId, PublishedLayer? Known, Func<Stream>? Open, string MediaType);

/// <summary>A layer as a registry has it.</summary>
/// <param name="Blob">Its blob.</param>
/// <param name="DiffId">Digest of that blob's tar, which need not be the tar that the engine made.</param>
public sealed record PublishedLayer(Descriptor Blob, Digest DiffId);
