using System.Net;
using Kiln.Client.Credentials;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>What a node that builds on notifications of other registries was told.</summary>
public sealed record NotificationOptions
{
    /// <summary>Where notifications, builds and their logs are kept.</summary>
    public required string Directory { get; init; }

    /// <summary>Where notifications are taken.</summary>
    public required IPEndPoint Listen { get; init; }
    public required IReadOnlyList<WatchedRegistry> Registries { get; init; }

    /// <summary>Who built, as provenance names it: a URI.</summary>
    public required string Builder { get; init; }

    /// <summary>Registries, as <c>host[:port]</c>, that are spoken to without TLS. Loopback always is.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>Patterns <c>HOST/REPOSITORY</c> of what builds may stand on, beside what is in the watched registry; none is all
    /// that is at a public address.</summary>
    public IReadOnlyList<string> AllowBases { get; init; } = [];

    /// <summary>Patterns of what they may not.</summary>
    public IReadOnlyList<string> DenyBases { get; init; } = [];

    public int DefaultTimeoutSeconds { get; init; } = 3600;
    public int MaxTimeoutSeconds { get; init; } = 14_400;

    /// <summary>How often a build is tried that failed for a reason that is not the recipe's.</summary>
    public int MaxAttempts { get; init; } = 3;

    /// <summary>Notifications and builds that may wait; more are sent away, to be sent again.</summary>
    public int MaxWaiting { get; init; } = 1000;

    /// <summary>Of them those of one repository; more are dropped.</summary>
    public int MaxWaitingInRepository { get; init; } = 100;

    /// <summary>Builds that are over and are remembered, with their logs.</summary>
    public int MaxKept { get; init; } = 200;

    /// <summary>How long a registry that does not answer is waited for, before what was to be done there is given up.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromDays(1);

    /// <summary>Bytes of one notification.</summary>
    public int MaxBodyBytes { get; init; } = 1 << 20;
    public int MaxRecipeBytes { get; init; } = 1 << 20;
    public long MaxContextBytes { get; init; } = 2L << 30;
    public long MaxLogBytes { get; init; } = 64L << 20;
}

/// <summary>A registry whose notifications are heard, and into which products are pushed.</summary>
public sealed record WatchedRegistry
{
    /// <summary>By which its notifications are addressed: <c>/notifications/NAME</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The registry, <c>host[:port]</c>; no other is ever spoken to for its notifications.</summary>
    public required string Host { get; init; }

    /// <summary>What else its notifications and recipes call it.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>Patterns of repositories whose recipes are built; <c>*</c> for part of a component, <c>**</c> at the end for the rest.</summary>
    public required IReadOnlyList<string> Repositories { get; init; }

    /// <summary>Whether only recipes are built that ask for it with the annotation <c>trigger=push</c>.</summary>
    public bool OptIn { get; init; }

    /// <summary>A file with what the registry has to send, in its first line; in its second perhaps the one before.</summary>
    public string? SecretFile { get; init; }

    /// <summary>Who to be there.</summary>
    public ICredentialSource Credentials { get; init; } = NoCredentials.Instance;

    /// <summary>Patterns of its repositories that recipes may build on with those credentials; all others must be public.</summary>
    public IReadOnlyList<string> PrivateBases { get; init; } = [];

    /// <summary>Builds that notifications may start in one repository in an hour; more wait.</summary>
    public int BuildsPerHour { get; init; } = 60;

    /// <summary>Whether the log of a build that failed is attached to its recipe, for whoever pushed that.</summary>
    public bool AttachFailures { get; init; } = true;

    /// <summary>Whether a repository is one of those that are watched.</summary>
    public bool Watches(string repository) => Repositories.Any(pattern => Glob.MatchesPath(repository, pattern));

    /// <summary>Whether a host is this registry.</summary>
    public bool IsAt(string host) =>
        host.Equals(Host, StringComparison.OrdinalIgnoreCase)
        || Aliases.Contains(host, StringComparer.OrdinalIgnoreCase);
}
