using Kiln.Client;
using Kiln.Oci;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>What an upstream said, in this registry's words: who said it, why, and what to do.</summary>
internal static class UpstreamErrors
{
    // Its words are passed on, and it may have many.
    private const int MaxWords = 300;

    /// <summary>
    /// An answer for the client. Never 401: with this registry the client has logged in all right.
    /// </summary>
    public static OciException Of(Upstream upstream, RepositoryName local, RegistryException e)
    {
        var remote = upstream.RemoteName(local);
        var error = e switch
        {
            { Fault: RegistryFault.NotAllowed } => new OciError(
                ErrorCodes.Denied,
                $"{upstream.Host} does not let this registry pull {remote} ({Words(e)}); either there is no such "
                    + "repository, or an operator of this registry has to give it other credentials for that one"
            ),
            { Status: 429 } => new OciError(
                ErrorCodes.TooManyRequests,
                $"{upstream.Host} has had too many requests from this registry ({Words(e)}), and {remote} is not "
                    + "cached here; try again later"
            ),
            _ when Upstream.IsOutage(e) => new OciError(
                ErrorCodes.Unavailable,
                $"{upstream.Host} has no answer for this registry now ({Words(e)}), and what you want of {remote} is "
                    + "not cached here; try again later"
            ),
            _ => new OciError(
                ErrorCodes.UpstreamBroken,
                $"{upstream.Host} answered for {remote} what cannot be used ({Words(e)}); nothing of it was kept"
            ),
        };
        var wait = e.RetryAfter ?? (Upstream.IsOutage(e) ? UpstreamEndpoint.ShortRest : null);
        return new OciException(error with { RetryAfter = wait });
    }

    /// <summary>What is here is served although the upstream should have been asked (distribution-spec, "Warnings").</summary>
    public static string StaleWarning(Upstream upstream, RegistryException e, DateTimeOffset heard) =>
        Warning(
            $"{upstream.Host} has no answer now ({Words(e)}); this is what it said at {heard:yyyy-MM-dd HH:mm:ss}Z"
        );

    /// <summary>A list has only what is here.</summary>
    public static string PartWarning(Upstream upstream, RegistryException e) =>
        Warning($"{upstream.Host} has no answer now ({Words(e)}); this is only what is cached here");

    /// <summary>Nobody is asked, by configuration.</summary>
    public static string OfflineWarning(Upstream upstream) =>
        Warning($"this registry does not ask {upstream.Host}; this is only what is cached here");

    // warn-code 299, warn-agent "-"; a quoted string of printable ASCII.
    private static string Warning(string text) =>
        $"299 - \"{string.Concat(text.Select(c => c is < ' ' or > '~' or '"' or '\\' ? '\'' : c))}\"";

    private static string Words(RegistryException e) => e.Why.Length <= MaxWords ? e.Why : e.Why[..MaxWords] + "…";
}
