using System.Net;
using Kiln.Server.Access.Connections;

namespace Kiln.Server.Front;

/// <summary>What a server that stands in front of another registry can be told, and what makes no sense there.</summary>
internal static class FrontRules
{
    /// <summary>The address of the registry behind; null where there is none.</summary>
    /// <exception cref="ServerStartException">The options contradict each other; all that is wrong is said.</exception>
    public static Uri? Check(ServerOptions options)
    {
        var front = options.Front;
        if (front.Url is null)
        {
            return front is { User: null, PasswordFile: null, TokenFile: null }
                ? null
                : throw new ServerStartException(
                    "a login for the registry behind is given (front.user, front.password-file, front.token-file), but no such registry: give --upstream URL too"
                );
        }

        var address = Read(front.Url);
        List<string> faults = [.. address is null ? [NoAddress(front.Url)] : Place(address, options), .. Login(front)];
        faults.AddRange(from rule in Senseless where rule.Is(options) select rule.Fault);
        return faults.Count == 0 ? address : throw new ServerStartException(string.Join("\n  ", faults));
    }

    /// <summary>The options as they are for a server in front of another one: what it keeps is only there for builds.</summary>
    public static ServerOptions Apply(ServerOptions options) =>
        options.Front.Url is null
            ? options
            : options with
            {
                Collection = options.Collection with { KeepUntagged = options.Front.Keep, KeepNewestJobs = 0 },
            };

    /// <summary>What should be thought over; nothing of it keeps the server from starting.</summary>
    public static IEnumerable<string> Warnings(ServerOptions options)
    {
        if (options.Front.Url is not { } url || Read(url) is not { } address)
        {
            yield break;
        }

        if (address.Scheme == Uri.UriSchemeHttp && !address.IsLoopback)
        {
            yield return $"{url} is spoken to without TLS: whoever is on the way can read every password";
        }

        if (options.Front is { User: null, TokenFile: null })
        {
            yield return $"no login for {address.Authority} is given (front.user and front.password-file): images get there only if it lets everybody push";
        }
    }

    // What would be about content that is not here, or has nothing to hold on to.
    private static readonly (Func<ServerOptions, bool> Is, string Fault)[] Senseless =
    [
        (
            o => o.Access.PolicyFile is not null,
            "the registry behind says who may do what: leave --policy out, or leave --upstream out and be a registry of your own"
        ),
        (
            o => o.Upstreams.Count > 0,
            "upstreams (registries that are pulled through) cannot be had together with --upstream (the registry behind): the names in this registry are those of the registry behind"
        ),
        (
            o => o.Quotas.Rules.Count > 0,
            "quotas are about content that is kept here; with --upstream it is kept in the registry behind: set them there"
        ),
        (
            o => o.Immutability.Rules.Count > 0,
            "immutable tags are about tags that are kept here; with --upstream they are in the registry behind: set them there"
        ),
        (
            o => o.Retention.Rules.Count > 0,
            "rules of retention are about tags that are kept here; with --upstream they are in the registry behind: set them there"
        ),
        (
            o => o.Events.Webhooks.Count > 0,
            "webhooks tell of pushes to this registry; with --upstream the registry behind is pushed to: set them there"
        ),
        (
            o => o.Build.PullBuild == PullBuilds.Recipes,
            "builds.pull-builds cannot be 'recipes' with --upstream: which recipes the registry behind has is not known here; use 'jobs' or 'off'"
        ),
        (
            o => o.Build.Rebuild != RebuildTriggers.Off,
            "builds.rebuild has to be 'off' with --upstream: moves of tags in the registry behind are not seen here"
        ),
    ];

    private static IEnumerable<string> Place(Uri address, ServerOptions options)
    {
        var own =
            IPAddress.TryParse(address.Host.Trim('[', ']'), out var host) && IPAddress.IsLoopback(host)
            || address.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase);
        if (own && ListenAddresses.Parse(options.Urls).Any(listen => listen.Port == address.Port && listen.Port != 0))
        {
            yield return $"--upstream {options.Front.Url} is this server's own address; name the registry that it is to stand in front of";
        }
    }

    private static IEnumerable<string> Login(FrontOptions front)
    {
        if (front.User is null != front.PasswordFile is null)
        {
            yield return "front.user and front.password-file come together";
        }

        if (front is { TokenFile: not null, User: not null })
        {
            yield return "front.token-file stands in place of front.user and front.password-file: leave one out";
        }

        foreach (var file in new[] { front.PasswordFile, front.TokenFile })
        {
            if (file is not null && !File.Exists(file))
            {
                yield return $"the file {file} with the login for the registry behind is not there";
            }
        }
    }

    private static Uri? Read(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url)
        && (url.Scheme == Uri.UriSchemeHttps || url.Scheme == Uri.UriSchemeHttp)
        && url is { AbsolutePath: "/", Query: "", Fragment: "", UserInfo: "" }
            ? url
            : null;

    private static string NoAddress(string text) =>
        $"--upstream '{text}' is not of the form https://registry.example.org[:PORT], without a path: the names of repositories are the same in front and behind";
}
