using Kiln.Oci;

namespace Kiln.Server.Registry;

/// <summary>A manifest on its way in.</summary>
internal sealed record ManifestPush
{
    public required RepositoryName Repository { get; init; }

    /// <summary>The bytes, kept as they are.</summary>
    public required ReadOnlyMemory<byte> Content { get; init; }

    /// <summary>As declared by the sender; null takes the manifest's own <c>mediaType</c>.</summary>
    public string? ContentType { get; init; }

    /// <summary>The digest that the sender asked for; null computes sha256.</summary>
    public Digest? Digest { get; init; }

    /// <summary>Tags to set on it.</summary>
    public IReadOnlyList<Tag> Tags { get; init; } = [];

    /// <summary>What the push depends on: the state of <see cref="Digest"/>, else of the first of <see cref="Tags"/>.</summary>
    public Precondition? Precondition { get; init; }

    /// <summary>Who pushes, as <see cref="Access.Principal.Name"/>.</summary>
    public required string Principal { get; init; }

    /// <summary>Whether a recipe that is pushed may be built.</summary>
    public bool MayBuild { get; init; } = true;

    /// <summary>
    /// A copy of what another registry has: what it refers to comes when somebody wants it, and may be missing until then.
    /// </summary>
    public bool IsCopy { get; init; }

    /// <summary>Scheme and host under which the client reached the registry, for addresses in notices; null gives paths.</summary>
    public string? Origin { get; init; }
}

/// <summary>What a push left behind.</summary>
/// <param name="Notice">What a trigger wants the client to know.</param>
internal sealed record ManifestStored(ManifestPushed Push, PushNotice? Notice)
{
    public Digest Digest => Push.Digest;
}

/// <summary>A manifest as it is served.</summary>
/// <param name="Content">The bytes as they were pushed; empty where only the head was asked for.</param>
/// <param name="Size">In bytes.</param>
internal sealed record StoredManifest(Digest Digest, string MediaType, long Size, ReadOnlyMemory<byte> Content)
{
    /// <summary>Whether it goes soon, unless whoever is told of it is promised that it stays a while.</summary>
    public bool IsLeaving { get; init; }
}
