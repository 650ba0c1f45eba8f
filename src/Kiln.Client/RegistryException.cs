namespace Kiln.Client;

/// <summary>What kind of answer, or lack of one, ended a request.</summary>
public enum RegistryFault
{
    /// <summary>No connection, no name, no TLS, or no answer in time.</summary>
    Unreachable,

    /// <summary>401 or 403: credentials are missing, wrong, or not enough.</summary>
    NotAllowed,

    /// <summary>404.</summary>
    NotFound,

    /// <summary>Any other 4xx: the registry says what is wrong with the request.</summary>
    Refused,

    /// <summary>429 or 5xx that stayed after all retries.</summary>
    Unavailable,

    /// <summary>The answer broke the protocol: wrong digest, wrong size, not JSON.</summary>
    Broken,
}

/// <summary>A request to a registry that did not end well. The message says what was being done, and why it failed.</summary>
public sealed class RegistryException : Exception
{
    public RegistryException(RegistryFault fault, string action, string why, Exception? inner = null)
        : base($"{action}: {why}", inner)
    {
        Fault = fault;
        Action = action;
        Why = why;
    }

    public RegistryFault Fault { get; }

    /// <summary>What was being done, for example <c>pulling the manifest of localhost:5000/app:1.0</c>.</summary>
    public string Action { get; }

    /// <summary>The registry's own words, or what went wrong underneath.</summary>
    public string Why { get; }

    /// <summary>The registry that was spoken to, <c>host[:port]</c>.</summary>
    public string? Host { get; init; }

    /// <summary>The HTTP status, where there was an answer.</summary>
    public int? Status { get; init; }

    /// <summary>How long the registry asked to be left alone, where it did.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The code of the first error in the registry's answer, for example <c>NAME_UNKNOWN</c>.</summary>
    public string? Code { get; init; }
}
