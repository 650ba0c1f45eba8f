namespace Kiln.Server.Configuration.Sections;

/// <summary><c>operating</c>: how the server is watched, and how it ends.</summary>
internal static class OperatingSection
{
    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, OperationOptions>(
            "operating",
            "How the server is watched, and how it ends.",
            o => o.Operation,
            (o, v) => o with { Operation = v },
            [.. Watching, .. Ending]
        );

    private static IReadOnlyList<Field<OperationOptions>> Watching =>
        [
            new Field<OperationOptions, string>(
                "management-url",
                "A second address for /healthz, /readyz and /metrics only, for example http://127.0.0.1:9090.",
                Kinds.Checked("URL", _ => null),
                o => o.ManagementUrl,
                (o, v) => o with { ManagementUrl = v }
            )
            {
                Flag = new("--management-url"),
            },
            new Field<OperationOptions, LogFormat>(
                "log-format",
                "How log lines are written.",
                Kinds.Choice(("text", LogFormat.Text), ("json", LogFormat.Json)),
                o => o.LogFormat,
                (o, v) => o with { LogFormat = v }
            )
            {
                Flag = new("--log-format"),
            },
            new Field<OperationOptions, bool>(
                "access-log",
                "Log each request.",
                Kinds.Switch,
                o => o.AccessLog,
                (o, v) => o with { AccessLog = v }
            )
            {
                Flag = new("--access-log"),
            },
            new Field<OperationOptions, string>(
                "otlp-endpoint",
                "A collector that gets metrics and traces by OTLP over HTTP, for example http://127.0.0.1:4318.",
                Kinds.Checked("URL", Origin),
                o => o.OtlpEndpoint,
                (o, v) => o with { OtlpEndpoint = v }
            )
            {
                Flag = new("--otlp-endpoint"),
            },
            new Field<OperationOptions, string>(
                "otlp-headers-file",
                "A file with headers for the collector, NAME=VALUE a line.",
                Kinds.File,
                o => o.OtlpHeadersFile,
                (o, v) => o with { OtlpHeadersFile = v }
            ),
        ];

    private static IReadOnlyList<Field<OperationOptions>> Ending =>
        [
            new Field<OperationOptions, TimeSpan>(
                "stop-delay",
                "How long the server says that it is not ready before it stops listening.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromMinutes(10)),
                o => o.StopDelay,
                (o, v) => o with { StopDelay = v }
            ),
            new Field<OperationOptions, TimeSpan>(
                "stop-timeout",
                "How long running requests have to end.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromHours(1)),
                o => o.StopTimeout,
                (o, v) => o with { StopTimeout = v }
            ),
        ];

    private static string? Origin(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url)
        && (url.Scheme == Uri.UriSchemeHttp || url.Scheme == Uri.UriSchemeHttps)
        && url is { AbsolutePath: "/", Query: "", UserInfo: "" }
            ? null
            : $"'{text}' is not of the form http://collector:4318; its paths are added to it, and credentials stand in otlp-headers-file";
}
