namespace Kiln.Server;

/// <summary>
/// Another registry whose repositories appear here under a prefix: what somebody pulls is fetched from it once, and kept
/// (docs/guide/upstreams.md).
/// </summary>
public sealed record UpstreamOptions
{
    /// <summary>The registry as recipes and references name it, <c>docker.io</c> or <c>registry.example.org:5000</c>.</summary>
    public required string Host { get; init; }

    /// <summary>
    /// Where it answers, tried in this order; none is <c>https://HOST</c>. A path stands before the names of repositories
    /// there: with <c>https://harbor.example.org/hub</c>, <c>library/debian</c> is asked for as <c>hub/library/debian</c>.
    /// </summary>
    public IReadOnlyList<Uri> Urls { get; init; } = [];

    /// <summary>What its repositories' names begin with here; null is <see cref="Host"/>.</summary>
    public string? Prefix { get; init; }

    /// <summary>Who to be there, with the password in <see cref="PasswordFile"/>; null asks as nobody.</summary>
    public string? User { get; init; }

    /// <summary>A file whose first line is the password. It is read whenever it is needed, so that it can be replaced.</summary>
    public string? PasswordFile { get; init; }

    /// <summary>A file whose first line is a bearer token, which is sent as it is; in place of user and password.</summary>
    public string? TokenFile { get; init; }

    /// <summary>Patterns of repositories there that may be pulled through, <c>library/*</c>; none is all.</summary>
    public IReadOnlyList<string> Allow { get; init; } = [];

    /// <summary>Patterns of repositories there that may not, whatever <see cref="Allow"/> says.</summary>
    public IReadOnlyList<string> Deny { get; init; } = [];

    /// <summary>For how long the upstream's word on a tag holds before it is asked again.</summary>
    public TimeSpan TagAge { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>For how long the upstream's word holds that something is not there.</summary>
    public TimeSpan AbsenceAge { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>What becomes of tags whose age is up while the upstream cannot be asked.</summary>
    public OfflinePolicy Offline { get; init; } = OfflinePolicy.Stale;

    /// <summary>Blobs that are fetched from it at one time; further ones wait.</summary>
    public int MaxFetches { get; init; } = 8;

    /// <summary>How long an answer that is no blob may take to come whole.</summary>
    public TimeSpan AnswerTime { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>How long the fetch of one blob may take.</summary>
    public TimeSpan FetchTime { get; init; } = TimeSpan.FromHours(2);
}

/// <summary>What is served of an upstream that cannot be asked. Whatever has a digest always is, once it is here.</summary>
public enum OfflinePolicy
{
    /// <summary>Tags as they were when the upstream was last heard, with a <c>Warning</c>.</summary>
    Stale,

    /// <summary>No tags whose age is up: a client had better fail than take an old image.</summary>
    Fail,

    /// <summary>The upstream is never asked: what is here is all there is.</summary>
    Always,
}
