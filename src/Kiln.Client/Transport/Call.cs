using Kiln.Oci;

namespace Kiln.Client.Transport;

/// <summary>One request to a registry, in a form that can be sent again.</summary>
internal sealed record Call
{
    public required HttpMethod Method { get; init; }

    /// <summary>Where to; relative to the registry's root, or absolute where the registry named another place.</summary>
    public required string Target { get; init; }

    /// <summary>The registry as it stands in references.</summary>
    public required string Host { get; init; }
    public RepositoryName? Repository { get; init; }

    /// <summary>What a token must allow: <c>pull</c> or <c>pull,push</c>.</summary>
    public string Rights { get; init; } = "pull";

    /// <summary>What is being done, for messages.</summary>
    public required string Action { get; init; }
    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>Makes the body, once for each try. The argument is to be called whenever bytes moved.</summary>
    public Func<Action, HttpContent>? Content { get; init; }

    /// <summary>True where doing it twice is the same as doing it once.</summary>
    public bool Repeatable { get; init; } = true;

    /// <summary>Statuses that are answers here, not errors.</summary>
    public IReadOnlyList<int> Expected { get; init; } = [];
}
