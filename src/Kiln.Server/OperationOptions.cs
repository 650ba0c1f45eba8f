namespace Kiln.Server;

/// <summary>How the server is watched, and how it ends.</summary>
public sealed record OperationOptions
{
    /// <summary>
    /// A second address, <c>http://ADDRESS:PORT</c>, for health and metrics only; null where there is none, and then no metrics
    /// are kept.
    /// </summary>
    public string? ManagementUrl { get; init; }

    public LogFormat LogFormat { get; init; }

    /// <summary>Whether each request is logged.</summary>
    public bool AccessLog { get; init; }

    /// <summary>How long the server says that it is not ready before it stops to listen, so that a proxy looks elsewhere.</summary>
    public TimeSpan StopDelay { get; init; }

    /// <summary>How long running requests and builds have to end.</summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A collector for metrics and traces by OTLP over HTTP, <c>http://collector:4318</c>; null for none.</summary>
    public string? OtlpEndpoint { get; init; }

    /// <summary>A file with headers for it, <c>NAME=VALUE</c> a line: credentials.</summary>
    public string? OtlpHeadersFile { get; init; }
}

/// <summary>How log lines are written.</summary>
public enum LogFormat
{
    /// <summary>For people.</summary>
    Text,

    /// <summary>An object a line.</summary>
    Json,
}
