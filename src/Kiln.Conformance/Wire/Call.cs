using System.Text.Json.Nodes;

namespace Kiln.Conformance.Wire;

/// <summary>A request to be sent.</summary>
internal sealed record Call(string Method, string Path)
{
    public byte[]? Body { get; init; }
    public string? Type { get; init; }

    /// <summary>The body has no length that is said before (chunked transfer).</summary>
    public bool Streamed { get; init; }
    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>A credential of its own, instead of the run's; empty for none at all.</summary>
    public string? Authorization { get; init; }

    /// <summary>How long the registry was asked to hold its answer.</summary>
    public TimeSpan Wait { get; init; }

    public Call With(string header, string value) => this with { Headers = [.. Headers, (header, value)] };

    public Call WithBody(byte[] body, string type) => this with { Body = body, Type = type };

    public Call WithJson(JsonNode body, string type = "application/json") => WithBody(body.Bytes(), type);

    /// <summary><c>Prefer: wait</c>, in seconds.</summary>
    public Call Waiting(int seconds) => With("Prefer", $"wait={seconds}") with { Wait = TimeSpan.FromSeconds(seconds) };
}
