using System.Net;

namespace Kiln.Server.Configuration.Sections;

/// <summary><c>events</c>: whom the server tells what happened.</summary>
internal static class EventSection
{
    private const int MaxNameLength = 40;

    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, EventOptions>(
            "events",
            "Whom the server tells what happened, and how long it tries.",
            o => o.Events,
            (o, v) => o with { Events = v },
            [.. Receivers, .. Bounds]
        );

    private static IReadOnlyList<Field<EventOptions>> Receivers =>
        [
            new Field<EventOptions, IReadOnlyList<WebhookOptions>>(
                "webhooks",
                "Who is told of pushes and deletions.",
                Kinds.ListOf(
                    Webhook,
                    () =>
                        new WebhookOptions
                        {
                            Name = "",
                            Url = "",
                            SecretFile = "",
                        }
                ),
                o => o.Webhooks,
                (o, v) => o with { Webhooks = v }
            ),
            new Field<EventOptions, IReadOnlyList<string>>(
                "allow-addresses",
                "Private addresses or networks, such as 10.0.0.0/8, to which hooks that users register may lead, without TLS as well.",
                Kinds.ListOf(Kinds.Checked("NETWORK", Network)),
                o => o.AllowedAddresses,
                (o, v) => o with { AllowedAddresses = v }
            ),
        ];

    private static IReadOnlyList<Field<EventOptions>> Bounds =>
        [
            new Field<EventOptions, int>(
                "max-hooks",
                "Hooks that a repository may have.",
                Kinds.Whole(0, 1000),
                o => o.MaxHooks,
                (o, v) => o with { MaxHooks = v }
            ),
            new Field<EventOptions, int>(
                "max-hooks-in-all",
                "Hooks that all repositories may have together.",
                Kinds.Whole(0, 100_000),
                o => o.MaxHooksInAll,
                (o, v) => o with { MaxHooksInAll = v }
            ),
            new Field<EventOptions, TimeSpan>(
                "give-up-after",
                "A delivery that has not come about after so long is given up.",
                Kinds.Duration(TimeSpan.FromMinutes(1), TimeSpan.FromDays(30)),
                o => o.GiveUpAfter,
                (o, v) => o with { GiveUpAfter = v }
            ),
            new Field<EventOptions, int>(
                "max-waiting",
                "Deliveries that may wait for one receiver; of more the oldest are given up.",
                Kinds.Whole(1, 10_000_000),
                o => o.MaxWaiting,
                (o, v) => o with { MaxWaiting = v }
            ),
            new Field<EventOptions, TimeSpan>(
                "keep-given-up",
                "How long deliveries that were given up are kept, to be tried again by hand.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromDays(365)),
                o => o.KeepGivenUp,
                (o, v) => o with { KeepGivenUp = v }
            ),
            new Field<EventOptions, int>(
                "max-given-up",
                "So many of those are kept for each receiver.",
                Kinds.Whole(0, 1_000_000),
                o => o.MaxGivenUp,
                (o, v) => o with { MaxGivenUp = v }
            ),
        ];

    private static Shape<WebhookOptions> Webhook =>
        new(
            "a webhook",
            new Field<WebhookOptions, string>(
                "name",
                "Lower-case letters, digits and hyphens; what waits for the receiver is known by it.",
                Kinds.Checked("NAME", Name),
                o => o.Name,
                (o, v) => o with { Name = v }
            )
            {
                IsRequired = true,
            },
            new Field<WebhookOptions, string>(
                "url",
                "Where events are posted to.",
                Kinds.Checked("URL", Url),
                o => o.Url,
                (o, v) => o with { Url = v }
            )
            {
                IsRequired = true,
            },
            new Field<WebhookOptions, string>(
                "secret-file",
                "A file with the secret that signs them, whsec_ and base64, in its first line; in its second perhaps the one before.",
                Kinds.File,
                o => o.SecretFile,
                (o, v) => o with { SecretFile = v }
            )
            {
                IsRequired = true,
            },
            new Field<WebhookOptions, IReadOnlyList<string>>(
                "repositories",
                "Patterns such as ci/** or **.",
                Kinds.ListOf(Kinds.Repositories),
                o => o.Repositories,
                (o, v) => o with { Repositories = v }
            ),
            new Field<WebhookOptions, IReadOnlyList<string>>(
                "events",
                "push, delete, or both.",
                Kinds.ListOf(
                    Kinds.Choice(
                        (WebhookOptions.Push, WebhookOptions.Push),
                        (WebhookOptions.Delete, WebhookOptions.Delete)
                    )
                ),
                o => o.Events,
                (o, v) => o with { Events = v }
            )
        );

    private static string? Name(string text) =>
        text.Length <= MaxNameLength && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-')
            ? null
            : $"'{text}' is no name; use lower-case letters, digits and hyphens, {MaxNameLength} at most";

    private static string? Url(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url)
        && (url.Scheme == Uri.UriSchemeHttp || url.Scheme == Uri.UriSchemeHttps)
        && url is { UserInfo: "", Fragment: "" }
            ? null
            : $"'{text}' is no http(s) address without credentials";

    private static string? Network(string text) =>
        IPNetwork.TryParse(text, out _) || IPAddress.TryParse(text, out _)
            ? null
            : $"'{text}' is neither an address nor a network such as 10.0.0.0/8";
}
