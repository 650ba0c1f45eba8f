namespace Kiln.Server.Configuration.Sections;

/// <summary>The file of <c>kiln node --watch-notifications</c>: which registries are heard, and what is built for them.</summary>
internal static class NotificationSections
{
    public static Shape<NotificationFile> File { get; } =
        new(
            "the file",
            new Field<NotificationFile, string>(
                "builder",
                "A URI that provenance names as whoever has built; kiln-node:NAME otherwise.",
                Kinds.Checked(
                    "URI",
                    text => Uri.TryCreate(text, UriKind.Absolute, out _) ? null : $"'{text}' is no URI"
                ),
                o => o.Builder,
                (o, v) => o with { Builder = v }
            ),
            new Field<NotificationFile, IReadOnlyList<string>>(
                "allow-bases",
                "Patterns HOST/REPOSITORY of what builds may stand on, beside what is in their registry; all at public addresses otherwise.",
                Kinds.Texts,
                o => o.AllowBases,
                (o, v) => o with { AllowBases = v }
            ),
            new Field<NotificationFile, IReadOnlyList<string>>(
                "deny-bases",
                "Patterns of what they may not, whatever allow-bases says.",
                Kinds.Texts,
                o => o.DenyBases,
                (o, v) => o with { DenyBases = v }
            ),
            new Field<NotificationFile, int>(
                "max-waiting",
                "Notifications that may wait to be looked at.",
                Kinds.Whole(1, 100_000),
                o => o.MaxWaiting,
                (o, v) => o with { MaxWaiting = v }
            ),
            new Field<NotificationFile, int>(
                "keep-builds",
                "Builds that are over and are remembered, with their logs.",
                Kinds.Whole(0, 100_000),
                o => o.KeepBuilds,
                (o, v) => o with { KeepBuilds = v }
            ),
            new Field<NotificationFile, IReadOnlyList<NotificationFileRegistry>>(
                "registries",
                "The registries whose notifications are heard.",
                Kinds.ListOf(
                    new Shape<NotificationFileRegistry>("a registry", [.. Place, .. Meant, .. Login, .. Builds])
                    {
                        Check = r =>
                            (r.User is null) == (r.PasswordFile is null) ? null : "user and password-file go together",
                    },
                    () => new NotificationFileRegistry()
                ),
                o => o.Registries,
                (o, v) => o with { Registries = v }
            )
            {
                IsRequired = true,
            }
        );

    private static IReadOnlyList<Field<NotificationFileRegistry>> Place =>
        [
            new Field<NotificationFileRegistry, string>(
                "name",
                "By which its notifications are addressed, /notifications/NAME: lower-case letters, digits and hyphens.",
                Kinds.Checked(
                    "NAME",
                    text =>
                        text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-')
                            ? null
                            : "must have lower-case letters, digits and hyphens"
                ),
                o => o.Name.Length == 0 ? null : o.Name,
                (o, v) => o with { Name = v }
            )
            {
                IsRequired = true,
            },
            new Field<NotificationFileRegistry, string>(
                "host",
                "The registry, HOST[:PORT]; docker.io for Docker Hub.",
                Kinds.Checked(
                    "HOST",
                    text =>
                        Uri.TryCreate($"https://{text}/", UriKind.Absolute, out var uri)
                        && uri.Authority.Length > 0
                        && uri.PathAndQuery == "/"
                            ? null
                            : $"'{text}' is no host"
                ),
                o => o.Host.Length == 0 ? null : o.Host,
                (o, v) => o with { Host = v }
            )
            {
                IsRequired = true,
            },
            new Field<NotificationFileRegistry, IReadOnlyList<string>>(
                "aliases",
                "What else notifications and recipes call it, as HOST[:PORT].",
                Kinds.Texts,
                o => o.Aliases,
                (o, v) => o with { Aliases = v }
            ),
        ];

    private static IReadOnlyList<Field<NotificationFileRegistry>> Meant =>
        [
            new Field<NotificationFileRegistry, IReadOnlyList<string>>(
                "repositories",
                "Patterns of repositories whose recipes are built, such as hpc/* or hpc/**.",
                Kinds.ListOf(
                    Kinds.Checked(
                        "PATTERN",
                        text =>
                            !RepositoryPattern.TryParse(text, out var pattern, out var fault) ? $"'{text}' {fault}"
                            : pattern.IsPersonal || text.Contains("**/", StringComparison.Ordinal)
                                ? $"'{text}' may have ** at its end only, and no {{user}}"
                            : null
                    )
                ),
                o => o.Repositories,
                (o, v) => o with { Repositories = v }
            )
            {
                IsRequired = true,
            },
        ];

    private static IReadOnlyList<Field<NotificationFileRegistry>> Login =>
        [
            new Field<NotificationFileRegistry, string>(
                "secret-file",
                "A file with what the registry sends with its notifications, in its first line; in its second perhaps the one before.",
                Kinds.File,
                o => o.SecretFile,
                (o, v) => o with { SecretFile = v }
            ),
            new Field<NotificationFileRegistry, string>(
                "user",
                "Who to be there; as whom this account is logged in there otherwise.",
                Kinds.Text,
                o => o.User,
                (o, v) => o with { User = v }
            ),
            new Field<NotificationFileRegistry, string>(
                "password-file",
                "A file whose first line is the password.",
                Kinds.File,
                o => o.PasswordFile,
                (o, v) => o with { PasswordFile = v }
            ),
        ];

    private static IReadOnlyList<Field<NotificationFileRegistry>> Builds =>
        [
            new Field<NotificationFileRegistry, bool>(
                "trigger",
                "on: every recipe is built that does not ask otherwise; opt-in: only one with the annotation trigger=push.",
                Kinds.Choice(("on", false), ("opt-in", true)),
                o => o.OptIn,
                (o, v) => o with { OptIn = v }
            ),
            new Field<NotificationFileRegistry, int>(
                "builds-per-hour",
                "Builds of one repository that notifications may start in an hour; more wait.",
                Kinds.Whole(1, 100_000),
                o => o.BuildsPerHour,
                (o, v) => o with { BuildsPerHour = v }
            ),
            new Field<NotificationFileRegistry, IReadOnlyList<string>>(
                "private-bases",
                "Patterns of its repositories that recipes may build on by the login above; of others only what is public.",
                Kinds.ListOf(Kinds.Repositories),
                o => o.PrivateBases,
                (o, v) => o with { PrivateBases = v }
            ),
            new Field<NotificationFileRegistry, bool>(
                "attach-failures",
                "Whether the log of a build that failed is attached to its recipe.",
                Kinds.Switch,
                o => o.AttachFailures,
                (o, v) => o with { AttachFailures = v }
            ),
        ];
}
