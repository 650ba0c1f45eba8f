namespace Kiln.Server;

/// <summary>
/// Another registry in front of which this server stands: what clients push and pull is kept there, and who may do what is
/// decided there; this server only builds (docs/guide/front.md). Nothing of it has to do with <see cref="UpstreamOptions"/>,
/// which are registries that this one, a whole registry itself, pulls through.
/// </summary>
public sealed record FrontOptions
{
    /// <summary>
    /// The registry behind, as <c>https://registry.example.org[:PORT]</c>; null where this server is a registry of its own.
    /// </summary>
    public string? Url { get; init; }

    /// <summary>Who this server is there, with the password in <see cref="PasswordFile"/>; null is nobody.</summary>
    public string? User { get; init; }

    /// <summary>A file whose first line is the password. It is read whenever it is needed, so that it can be replaced.</summary>
    public string? PasswordFile { get; init; }

    /// <summary>A file whose first line is a bearer token, which is sent as it is; in place of user and password.</summary>
    public string? TokenFile { get; init; }

    /// <summary>
    /// How long what a build brought here stays once no job needs it any more: as long, the same build is answered from it.
    /// </summary>
    public TimeSpan Keep { get; init; } = TimeSpan.FromDays(1);

    /// <summary>How long a product waits for the registry behind to take it, before its job fails.</summary>
    public TimeSpan LandingTime { get; init; } = TimeSpan.FromDays(1);

    /// <summary>How long a request that is passed on may stand still. Its whole time has no limit.</summary>
    public TimeSpan IdleTime { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Requests that are passed on at one time; more get 429.</summary>
    public int MaxRequests { get; init; } = 1000;
}
