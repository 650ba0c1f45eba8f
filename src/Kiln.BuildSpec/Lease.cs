using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>What a build node offers when it asks for work.</summary>
public sealed record LeaseClaim
{
    /// <summary>What the node calls itself; who it is, its credential says.</summary>
    public required string Node { get; init; }
    public required IReadOnlyList<string> Platforms { get; init; }

    /// <summary>
    /// Platforms whose programs it runs by emulation: it gets them only where that is allowed, and where no node that builds them
    /// natively is there. Null where there are none.
    /// </summary>
    public IReadOnlyList<string>? EmulatedPlatforms { get; init; }
    public required IReadOnlyList<string> Recipes { get; init; }
    public required IReadOnlyList<string> Outputs { get; init; }

    /// <summary>
    /// Names of archspec for which it builds, such as <c>zen3</c>; those that run on them are meant too. Null where it does not
    /// say: then it gets what asks for no more than a platform.
    /// </summary>
    public IReadOnlyList<string>? Microarchitectures { get; init; }

    /// <inheritdoc cref="NetworkModes"/>
    /// <remarks>Null where it does not say: then it gets what asks for any.</remarks>
    public IReadOnlyList<string>? Networks { get; init; }

    /// <summary>Names with versions, for example <c>buildah 1.28.2</c>.</summary>
    public IReadOnlyList<string>? Engines { get; init; }

    /// <inheritdoc cref="RootMethods"/>
    public IReadOnlyList<string>? Roots { get; init; }

    /// <summary>What it has for one build; null where it does not say: then it gets what asks for nothing.</summary>
    public BuildResources? Resources { get; init; }

    /// <summary>
    /// What it starts builds on, where that is more than one kind of machine: it gets what fits one of them whole, as it would
    /// where each asked for itself. Null where it is one machine.
    /// </summary>
    public IReadOnlyList<OfferedType>? Types { get; init; }

    /// <summary>The only job of which it wants a task; null for any.</summary>
    public string? Job { get; init; }

    /// <summary>How long the lease is to live after each sign of life; the registry may give less.</summary>
    public int? LeaseSeconds { get; init; }

    /// <summary>What else there is to say about the node, for people.</summary>
    public IReadOnlyDictionary<string, string>? Labels { get; init; }

    /// <summary>
    /// Its types, each with all that it has, what the claim says for all of them included; the node itself as the only one where
    /// it is one machine.
    /// </summary>
    public IReadOnlyList<OfferedType> Machines() => [.. (Types ?? [new OfferedType()]).Select(t => t.Of(this))];
}

/// <summary>
/// The right to build one execution. <see cref="Id"/> is the fencing token: once the lease is lost, every word under it
/// is refused.
/// </summary>
public sealed record Lease
{
    public required string Id { get; init; }
    public required string Execution { get; init; }
    public required string Repository { get; init; }
    public required int Attempt { get; init; }
    public required int HeartbeatSeconds { get; init; }
    public required LeaseTask Task { get; init; }

    /// <summary>The path of the job under which the lease's address is, and the task of it.</summary>
    public string? Job { get; init; }
    public string? TaskId { get; init; }

    /// <summary>When it ends without a sign of life, by the registry's clock. Go by <see cref="HeartbeatSeconds"/>.</summary>
    public DateTimeOffset? Expires { get; init; }

    /// <summary>Where the product goes; null for the registry's own node, which has another way.</summary>
    public LeasePush? Push { get; init; }

    /// <summary>The credential for all of it; null for the registry's own node.</summary>
    public LeaseAuth? Auth { get; init; }

    /// <summary>Where the build's bases may come from; null where the registry does not say.</summary>
    public LeaseBases? Bases { get; init; }

    /// <summary>How the registry itself may be read for this build; null where nobody has to log in to it.</summary>
    public LeaseRegistry? Registry { get; init; }
}

/// <summary>Where a lease's product is pushed: by digest, or to the one tag that only this lease sees.</summary>
public sealed record LeasePush
{
    /// <summary><c>host[:port]</c>, as the node reached it.</summary>
    public required string Registry { get; init; }
    public required string Repository { get; init; }
    public required string StagingTag { get; init; }
}

/// <summary>
/// The one credential of a lease, as a bearer token and as a login. It counts exactly as long as the lease, pushes into
/// the lease's staging area only, and reads what the requester may pull.
/// </summary>
public sealed record LeaseAuth
{
    /// <summary>By which such a credential is known, for people and for scanners of leaked secrets.</summary>
    public const string Prefix = "kiln_lease_";

    /// <summary>The user's name for tools that only know how to log in. Any other will do as well.</summary>
    public const string LoginName = "_lease";

    public required string Token { get; init; }
    public required string Username { get; init; }

    /// <summary>The same as <see cref="Token"/>, for tools that only know how to log in.</summary>
    public required string Password { get; init; }
    public required DateTimeOffset Expires { get; init; }

    public override string ToString() => $"the credential of a lease, until {Expires:O}";
}

/// <summary>
/// A login to the registry that gives the lease, with which bases can be pulled from it: those that the one who asked for
/// the build may pull. It must not reach the build itself.
/// </summary>
public sealed record LeaseRegistry
{
    /// <summary>By which names the registry is called, as <c>host[:port]</c>.</summary>
    public required IReadOnlyList<string> Hosts { get; init; }

    /// <summary>Stands for a password, whatever the user's name is.</summary>
    public required string Token { get; init; }

    /// <summary>
    /// Whether it is sent with each request, and not only where the registry asks for a login: one that stands in front of
    /// another passes that one's question on, which is for its own users.
    /// </summary>
    public bool? Unasked { get; init; }

    public override string ToString() => $"login to {string.Join(", ", Hosts)}";
}

/// <summary>All that a node needs to know to build; everything in it was resolved by the registry.</summary>
public sealed record LeaseTask
{
    public required Platform Platform { get; init; }

    /// <summary>For what the recipe is to compile, by archspec's name; null where the platform says all.</summary>
    public string? Microarchitecture { get; init; }
    public required string Format { get; init; }

    /// <summary>With what new layers, or the file, are compressed; null for gzip.</summary>
    public string? Compression { get; init; }
    public required string RecipeType { get; init; }

    /// <summary>
    /// The recipe blob itself (not the artifact's manifest); of <see cref="RecipeTypes.Image"/> the image's manifest, with its
    /// bytes as data.
    /// </summary>
    public required Descriptor Recipe { get; init; }
    public IReadOnlyList<LeaseContext> Contexts { get; init; } = [];
    public IReadOnlyDictionary<string, string> Args { get; init; } = new Dictionary<string, string>();
    public string? Target { get; init; }
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>Ids of secrets; their values come with the claim only, and are never stored in the task.</summary>
    public IReadOnlyList<string> SecretIds { get; init; } = [];
    public IReadOnlyList<LeaseSecret>? Secrets { get; init; }
    public required string Network { get; init; }

    /// <summary>Seconds that the build may run.</summary>
    public required int TimeoutSeconds { get; init; }
    public long? SourceDateEpoch { get; init; }

    /// <summary>Which image each base is, by the name that the recipe has for it; others are looked up.</summary>
    public IReadOnlyList<ResolvedDependency>? PinnedBases { get; init; }

    /// <summary><see cref="EmulationModes.Denied"/> where it must not be built by emulation; null otherwise.</summary>
    public string? Emulation { get; init; }

    /// <summary>What the build needs; of memory and disk it may not use more.</summary>
    public BuildResources? Resources { get; init; }

    /// <summary>What the request says to the node's own back end.</summary>
    public IReadOnlyDictionary<string, string>? Backend { get; init; }

    /// <summary>
    /// Earlier results of the same key. Where the bases are the same as those of one, that is the product, and nothing has
    /// to be built.
    /// </summary>
    public IReadOnlyList<EarlierResult>? Earlier { get; init; }

    /// <summary>False where cached steps must not be used.</summary>
    public bool UseStepCache { get; init; } = true;
}

/// <summary>A product that is in the repository, and the bases that it was built on.</summary>
public sealed record EarlierResult
{
    public required Descriptor Manifest { get; init; }
    public required IReadOnlyList<ResolvedDependency> ResolvedDependencies { get; init; }

    /// <summary>Whether bases are exactly those of this result.</summary>
    public bool IsOf(IReadOnlyCollection<ResolvedDependency> bases) =>
        bases
            .Select(Name)
            .Order(StringComparer.Ordinal)
            .SequenceEqual(ResolvedDependencies.Select(Name).Order(StringComparer.Ordinal), StringComparer.Ordinal);

    private static string Name(ResolvedDependency one) => $"{one.Uri} {one.Digest}";
}

/// <summary>A blob with files for the build; <see cref="Strip"/> leading path components are dropped.</summary>
public sealed record LeaseContext
{
    public required Descriptor Blob { get; init; }
    public int Strip { get; init; }
}

/// <summary>A secret's value, on its way to the step that asks for it.</summary>
public sealed record LeaseSecret
{
    public required string Id { get; init; }
    public required byte[] Value { get; init; }

    public override string ToString() => $"secret {Id}";
}

/// <summary>A node's sign of life, with what the build is doing.</summary>
public sealed record LeaseHeartbeat
{
    public string? Phase { get; init; }
    public string? Progress { get; init; }
    public BuildConfinement? Confinement { get; init; }
    public IReadOnlyList<BuildStep>? Steps { get; init; }

    /// <summary>As in the claim, from now on.</summary>
    public int? LeaseSeconds { get; init; }
}

/// <summary>The answer to a heartbeat.</summary>
public sealed record LeaseHeartbeatReply
{
    /// <summary>True where the build must be ended and reported as cancelled.</summary>
    public required bool Canceled { get; init; }
    public DateTimeOffset? Expires { get; init; }

    /// <summary>The credential for what comes; may be the one that is there.</summary>
    public LeaseAuth? Auth { get; init; }
}

/// <summary>The answer to a result.</summary>
public sealed record LeaseResultReply
{
    /// <summary>What became of the task: one of <see cref="BuildStates"/>.</summary>
    public required string State { get; init; }

    /// <summary>Whether the product can be pulled now.</summary>
    public required bool Published { get; init; }
}

/// <summary>How a build ended. The same result may be sent again; another one after it is refused.</summary>
public sealed record LeaseResult
{
    /// <summary><c>succeeded</c>, <c>failed</c> or <c>canceled</c>.</summary>
    public required string State { get; init; }
    public string? Reason { get; init; }
    public string? Message { get; init; }
    public int? ExitCode { get; init; }

    /// <summary>True where another attempt may end differently (only for <c>system-error</c>).</summary>
    public bool Retryable { get; init; }

    /// <summary>The image manifest in the lease's staging area.</summary>
    public Descriptor? Manifest { get; init; }
    public IReadOnlyList<ResolvedDependency>? ResolvedDependencies { get; init; }
    public IReadOnlyList<BuildStep>? Steps { get; init; }
    public BuildConfinement? Confinement { get; init; }

    /// <summary>What was changed where the task was to flatten an image.</summary>
    public FlattenReport? Flattening { get; init; }
}
