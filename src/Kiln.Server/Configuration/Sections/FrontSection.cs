namespace Kiln.Server.Configuration.Sections;

/// <summary><c>front</c>: another registry, in front of which this server stands and builds.</summary>
internal static class FrontSection
{
    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, FrontOptions>(
            "front",
            "Another registry, in front of which this server stands and builds; what is pushed is kept there.",
            o => o.Front,
            (o, v) => o with { Front = v },
            [.. Place, .. Behaviour]
        );

    private static IReadOnlyList<Field<FrontOptions>> Place =>
        [
            new Field<FrontOptions, string>(
                "url",
                "Stand in front of the registry at this address, for example https://registry.example.org, and build there.",
                Kinds.Checked("URL", _ => null),
                o => o.Url,
                (o, v) => o with { Url = v }
            )
            {
                Flag = new("--upstream"),
            },
            new Field<FrontOptions, string>(
                "user",
                "Who this server is at the registry behind, when it reads recipes and pushes images.",
                Kinds.Text,
                o => o.User,
                (o, v) => o with { User = v }
            )
            {
                Flag = new("--upstream-user"),
            },
            new Field<FrontOptions, string>(
                "password-file",
                "A file whose first line is the password of that user.",
                Kinds.File,
                o => o.PasswordFile,
                (o, v) => o with { PasswordFile = v }
            )
            {
                Flag = new("--upstream-password-file"),
            },
            new Field<FrontOptions, string>(
                "token-file",
                "A file whose first line is a bearer token, in place of user and password.",
                Kinds.File,
                o => o.TokenFile,
                (o, v) => o with { TokenFile = v }
            )
            {
                Flag = new("--upstream-token-file"),
            },
        ];

    private static IReadOnlyList<Field<FrontOptions>> Behaviour =>
        [
            new Field<FrontOptions, TimeSpan>(
                "keep",
                "How long what builds brought here stays after them, for builds that ask for the same.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromDays(365)),
                o => o.Keep,
                (o, v) => o with { Keep = v }
            ),
            new Field<FrontOptions, TimeSpan>(
                "landing-time",
                "How long an image waits for the registry behind to take it, before its job fails.",
                Kinds.Duration(TimeSpan.FromSeconds(1), TimeSpan.FromDays(30)),
                o => o.LandingTime,
                (o, v) => o with { LandingTime = v }
            ),
            new Field<FrontOptions, TimeSpan>(
                "idle-time",
                "How long a request that is passed on may stand still.",
                Kinds.Duration(TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)),
                o => o.IdleTime,
                (o, v) => o with { IdleTime = v }
            ),
            new Field<FrontOptions, int>(
                "max-requests",
                "Requests that are passed on at one time; more get 429.",
                Kinds.Whole(1, 1_000_000),
                o => o.MaxRequests,
                (o, v) => o with { MaxRequests = v }
            ),
        ];
}
