namespace Kiln.Server;

/// <summary>What <c>kiln serve</c> was told. Sizes in bytes, times in seconds unless named otherwise.</summary>
public sealed record ServerOptions
{
    /// <summary>The directory that holds everything the server keeps.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>
    /// A PostgreSQL that keeps names and the build queue, as <c>postgres://USER@HOST[:PORT]/DATABASE</c>, for several
    /// servers that work as one; null keeps them in a file of the data directory.
    /// </summary>
    public string? Database { get; init; }

    /// <summary>A file whose first line is the database's password.</summary>
    public string? DatabasePasswordFile { get; init; }

    /// <summary>
    /// A file with a secret of which the server makes its keys: the same for all servers of one database. Null: keys of its
    /// own, in the data directory.
    /// </summary>
    public string? KeysFile { get; init; }

    /// <summary>What an acknowledged write promises.</summary>
    public Durability Durability { get; init; }

    /// <summary>Where to listen, for example <c>http://127.0.0.1:5000</c>. Port 0 takes a free one.</summary>
    public string Urls { get; init; } = "http://127.0.0.1:5000";

    /// <summary>The largest manifest that a push may bring (the spec asks for 4 MiB at least).</summary>
    public long MaxManifestBytes { get; init; } = 8L << 20;

    /// <summary>The largest blob.</summary>
    public long MaxBlobBytes { get; init; } = 256L << 30;

    /// <summary>An upload without a request for so long is thrown away.</summary>
    public TimeSpan UploadExpiry { get; init; } = TimeSpan.FromHours(24);

    /// <summary>
    /// The journal is written anew, as the present state, when what came since the last time has so many bytes and more than
    /// the state itself.
    /// </summary>
    public long JournalBytes { get; init; } = 64L << 20;

    /// <summary>Uploads that may be open in one repository; more get 429.</summary>
    public int MaxUploads { get; init; } = 10_000;

    /// <summary>
    /// Connections open at one time, as far as the process may open so many files; those beyond are closed unheard.
    /// </summary>
    public int MaxConnections { get; init; } = 10_000;

    /// <summary>
    /// Bytes a second that a request's body has to bring on average. Slower clients are cut off; an upload can be resumed.
    /// </summary>
    public double MinBytesPerSecond { get; init; } = 240;

    /// <summary>How long a client may be slower than <see cref="MinBytesPerSecond"/>. More than a second.</summary>
    public TimeSpan SlowClientGrace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Which manifests may refer to what the repository does not have.</summary>
    public SparseManifests Sparse { get; init; }

    public StorageOptions Storage { get; init; } = new();

    public BuildOptions Build { get; init; } = new();

    /// <summary>Registries whose content can be pulled through this one.</summary>
    public IReadOnlyList<UpstreamOptions> Upstreams { get; init; } = [];

    /// <summary>Blobs that may be on their way here from all of them, or wait for their turn; more get 429.</summary>
    public int MaxUpstreamFetches { get; init; } = 256;

    public FrontOptions Front { get; init; } = new();

    public AccessOptions Access { get; init; } = new();

    public CollectionOptions Collection { get; init; } = new();

    public RetentionOptions Retention { get; init; } = new();

    public ImmutabilityOptions Immutability { get; init; } = new();

    public QuotaOptions Quotas { get; init; } = new();

    public OperationOptions Operation { get; init; } = new();

    public EventOptions Events { get; init; } = new();
}

/// <summary>Who is let in, and by which way. Without any of it: the server's own user and root, on loopback.</summary>
public sealed record AccessOptions
{
    /// <summary>Who may do what (docs/guide/access.md).</summary>
    public string? PolicyFile { get; init; }

    /// <summary>Let everybody do everything.</summary>
    public bool InsecureAnonymous { get; init; }

    /// <summary>
    /// How clients call the registry where that is not the address they reach, for example
    /// <c>https://registry.example.org</c>.
    /// </summary>
    public string? PublicUrl { get; init; }

    /// <summary>Addresses or networks (<c>10.0.0.0/8</c>) of proxies whose word on the client's address is taken.</summary>
    public IReadOnlyList<string> TrustedProxies { get; init; } = [];

    /// <summary>Certificate in PEM, with its intermediates after it; for <c>https</c> addresses.</summary>
    public string? CertificateFile { get; init; }

    /// <summary>Its private key in PEM.</summary>
    public string? KeyFile { get; init; }

    /// <summary>A file, or <c>stderr</c>, or <c>off</c>; null is <c>audit.log</c> in the data directory.</summary>
    public string? AuditLog { get; init; }

    /// <summary>The audit log is set aside when it has so many bytes.</summary>
    public long AuditMaxBytes { get; init; } = 64L << 20;

    /// <summary>So many of those that were set aside are kept.</summary>
    public int AuditFiles { get; init; } = 5;
}

/// <summary>
/// Manifests that may be pushed although something that they refer to is missing (distribution-spec, "Pushing Manifests":
/// a registry may refuse them).
/// </summary>
public enum SparseManifests
{
    /// <summary>None: what can be pulled can be pulled whole.</summary>
    None,

    /// <summary>Indexes may lack children, as a mirror of some platforms does; images are whole.</summary>
    Indexes,

    /// <summary>Images may lack their config and layers too.</summary>
    All,
}

/// <summary>Whether a pushed recipe is built.</summary>
public enum PushTriggers
{
    /// <summary>No; it is kept, and can be asked for.</summary>
    Off,

    /// <summary>Where it asks for that: <c>org.supercontainers.build.trigger=push</c>.</summary>
    OptIn,

    /// <summary>Yes, unless it says <c>none</c>.</summary>
    On,
}

/// <summary>What a pull of a tag that is not there may wait for.</summary>
public enum PullBuilds
{
    /// <summary>Nothing: it is not there.</summary>
    Off,

    /// <summary>A job that waits or runs and will move the tag.</summary>
    Jobs,

    /// <summary>Also a recipe of the repository that declares the tag: whoever may build starts it by pulling.</summary>
    Recipes,
}

/// <summary>When images are built anew without anybody asking.</summary>
public enum RebuildTriggers
{
    /// <summary>Never.</summary>
    Off,

    /// <summary>When the tag of a base points at something else than what they stand on.</summary>
    OnBaseChange,
}

/// <summary>What the build service may do.</summary>
public sealed record BuildOptions
{
    /// <summary>Whether this server runs a build node of its own.</summary>
    public bool LocalNode { get; init; } = true;

    /// <summary>Builds at a time on the local node.</summary>
    public int Concurrency { get; init; } = 1;

    /// <summary>Build without namespaces of its own where the machine allows none. The build then is the server's user.</summary>
    public bool Unsafe { get; init; }

    /// <summary>Build with the server's own user id only, also where it has a range of subordinate ids.</summary>
    public bool SingleId { get; init; }

    /// <summary>
    /// A private key of ECDSA over P-256 in PEM, which only the server's user may read, that signs provenance; null signs
    /// none.
    /// </summary>
    public string? SigningKeyFile { get; init; }

    /// <summary>Whether a request may ask for the host's network.</summary>
    public bool AllowHostNetwork { get; init; }

    /// <summary>Whether builds may be done by emulation, here and on nodes elsewhere.</summary>
    public bool AllowEmulation { get; init; } = true;

    /// <summary>Registries, as <c>host[:port]</c>, that are spoken to without TLS. Loopback always is.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>
    /// Patterns <c>HOST/REPOSITORY</c> of what builds may stand on, beside what is in this registry; none is all that is at a
    /// public address. A host that is named in full may be at any.
    /// </summary>
    public IReadOnlyList<string> AllowBases { get; init; } = [];

    /// <summary>Patterns of what they may not, whatever <see cref="AllowBases"/> says.</summary>
    public IReadOnlyList<string> DenyBases { get; init; } = [];

    /// <summary>What definitions may start from: <see cref="Kiln.BuildSpec.Definitions.BootstrapAgents"/>.</summary>
    public IReadOnlyList<string> Bootstraps { get; init; } = Kiln.BuildSpec.Definitions.BootstrapAgents.All;

    /// <summary>
    /// A root file system from which Apptainer and what it needs are taken, where the machine's own has none; null for the machine's.
    /// </summary>
    public string? ApptainerRoot { get; init; }

    public int DefaultTimeoutSeconds { get; init; } = 3600;
    public int MaxTimeoutSeconds { get; init; } = 14_400;
    public int MaxQueueSeconds { get; init; } = 86_400;
    public int LeaseSeconds { get; init; } = 30;

    /// <summary>The longest life between two signs of life that a node elsewhere may ask for.</summary>
    public int MaxLeaseSeconds { get; init; } = 3600;
    public int MaxAttempts { get; init; } = 3;

    /// <summary>Jobs that may wait or run in one repository; more get 429.</summary>
    public int MaxActiveJobs { get; init; } = 200;

    /// <summary>
    /// Whether a pushed recipe is built, where the policy says nothing of its repository. Null is on for a server of its own
    /// user, and opt-in for others.
    /// </summary>
    public PushTriggers? Trigger { get; init; }

    /// <summary>Builds that pushes and pulls may start in one repository in a minute; more are kept and not built.</summary>
    public int MaxTriggersPerMinute { get; init; } = 60;

    /// <summary>When images are built anew, where the policy says nothing of their repository.</summary>
    public RebuildTriggers Rebuild { get; init; }

    /// <summary>Builds that moved bases may start in one repository in an hour; what is more waits.</summary>
    public int MaxRebuildsPerHour { get; init; } = 20;

    /// <summary>Builds that moved bases started and that are not done, in the whole registry; what is more waits.</summary>
    public int MaxRebuildsAtOnce { get; init; } = 50;

    /// <summary>What a pull of a tag that is not there may wait for.</summary>
    public PullBuilds PullBuild { get; init; } = PullBuilds.Jobs;

    /// <summary>How long such a pull is held, at most 55; then the client is told to come again.</summary>
    public int PullHoldSeconds { get; init; } = 50;

    /// <summary>Pulls that may be held at a time; more are told to come again at once.</summary>
    public int MaxHeldPulls { get; init; } = 256;

    /// <summary>Age up to which a finished build answers an identical request.</summary>
    public int ReuseSeconds { get; init; } = 86_400;
    public long MaxContextBytes { get; init; } = 2L << 30;
    public int MaxRecipeBytes { get; init; } = 1 << 20;
    public long MaxLogBytes { get; init; } = 64L << 20;

    /// <summary>Limits of one build.</summary>
    public long MemoryBytes { get; init; } = 8L << 30;
    public long DiskBytes { get; init; } = 20L << 30;
    public int Processes { get; init; } = 1024;

    /// <summary>What a build may leave on the file system before it is ended: free bytes.</summary>
    public long FreeDiskFloorBytes { get; init; } = 512L << 20;
}
