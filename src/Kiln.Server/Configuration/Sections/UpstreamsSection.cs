namespace Kiln.Server.Configuration.Sections;

/// <summary><c>upstreams</c>: registries whose repositories can be pulled through this one.</summary>
internal static class UpstreamsSection
{
    public static Field<ServerOptions> Field { get; } =
        new Field<ServerOptions, IReadOnlyList<UpstreamOptions>>(
            "upstreams",
            "Registries whose repositories can be pulled through this one.",
            Kinds.ListOf(
                new Shape<UpstreamOptions>("an upstream", [.. Place, .. Login, .. Behaviour]),
                () => new UpstreamOptions { Host = "" }
            ),
            o => o.Upstreams,
            (o, v) => o with { Upstreams = v }
        );

    private static IReadOnlyList<Field<UpstreamOptions>> Place =>
        [
            new Field<UpstreamOptions, string>(
                "host",
                "The registry as recipes name it, for example docker.io.",
                Kinds.Checked("HOST", _ => null),
                o => o.Host.Length == 0 ? null : o.Host,
                (o, v) => o with { Host = v }
            )
            {
                IsRequired = true,
            },
            new Field<UpstreamOptions, IReadOnlyList<string>>(
                "urls",
                "Where it answers, tried in this order; https://HOST otherwise. A path stands before the repositories' names.",
                Kinds.ListOf(
                    Kinds.Checked(
                        "URL",
                        text => Uri.TryCreate(text, UriKind.Absolute, out _) ? null : $"'{text}' is not an address"
                    )
                ),
                o => [.. o.Urls.Select(url => url.ToString())],
                (o, v) => o with { Urls = [.. v.Select(text => new Uri(text))] }
            ),
            new Field<UpstreamOptions, string>(
                "prefix",
                "What its repositories' names begin with here; the host otherwise.",
                Kinds.Text,
                o => o.Prefix,
                (o, v) => o with { Prefix = v }
            ),
            new Field<UpstreamOptions, IReadOnlyList<string>>(
                "allow",
                "Patterns of its repositories that may be pulled through; all otherwise.",
                Kinds.ListOf(Kinds.Repositories),
                o => o.Allow,
                (o, v) => o with { Allow = v }
            ),
            new Field<UpstreamOptions, IReadOnlyList<string>>(
                "deny",
                "Patterns of its repositories that may not be pulled through, whatever allow says.",
                Kinds.ListOf(Kinds.Repositories),
                o => o.Deny,
                (o, v) => o with { Deny = v }
            ),
        ];

    private static IReadOnlyList<Field<UpstreamOptions>> Login =>
        [
            new Field<UpstreamOptions, string>(
                "user",
                "Who to be there; nobody otherwise.",
                Kinds.Text,
                o => o.User,
                (o, v) => o with { User = v }
            ),
            new Field<UpstreamOptions, string>(
                "password-file",
                "A file whose first line is the password.",
                Kinds.File,
                o => o.PasswordFile,
                (o, v) => o with { PasswordFile = v }
            ),
            new Field<UpstreamOptions, string>(
                "token-file",
                "A file whose first line is a bearer token, in place of user and password.",
                Kinds.File,
                o => o.TokenFile,
                (o, v) => o with { TokenFile = v }
            ),
        ];

    private static IReadOnlyList<Field<UpstreamOptions>> Behaviour =>
        [
            new Field<UpstreamOptions, TimeSpan>(
                "tag-age",
                "For how long a tag holds before the upstream is asked again.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromDays(365)),
                o => o.TagAge,
                (o, v) => o with { TagAge = v }
            ),
            new Field<UpstreamOptions, TimeSpan>(
                "absence-age",
                "For how long it holds that something is not there.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromDays(1)),
                o => o.AbsenceAge,
                (o, v) => o with { AbsenceAge = v }
            ),
            new Field<UpstreamOptions, OfflinePolicy>(
                "offline",
                "Tags whose age is up while the upstream has no answer: stale (served with a warning) or fail; always never asks it.",
                Kinds.Choice(
                    ("stale", OfflinePolicy.Stale),
                    ("fail", OfflinePolicy.Fail),
                    ("always", OfflinePolicy.Always)
                ),
                o => o.Offline,
                (o, v) => o with { Offline = v }
            ),
            new Field<UpstreamOptions, int>(
                "max-fetches",
                "Blobs that are fetched from it at one time.",
                Kinds.Whole(1, 1000),
                o => o.MaxFetches,
                (o, v) => o with { MaxFetches = v }
            ),
            new Field<UpstreamOptions, TimeSpan>(
                "fetch-time",
                "How long the fetch of one blob may take.",
                Kinds.Duration(TimeSpan.FromMinutes(1), TimeSpan.FromDays(7)),
                o => o.FetchTime,
                (o, v) => o with { FetchTime = v }
            ),
        ];
}
