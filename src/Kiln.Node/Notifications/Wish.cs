using System.Security.Cryptography;
using System.Text;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// A notification that waits to be looked at. What is pushed to a tag again before that is one wish. Times are milliseconds
/// since 1970.
/// </summary>
internal sealed record Wish
{
    /// <summary>Name of the watched registry.</summary>
    public required string Registry { get; init; }
    public required string Repository { get; init; }
    public string? Tag { get; init; }
    public Digest? Digest { get; init; }

    /// <inheritdoc cref="Notification.Event"/>
    public string? Event { get; init; }
    public required long Received { get; init; }

    /// <summary>How often it was looked at in vain.</summary>
    public int Tries { get; init; }
    public long NotBefore { get; init; }

    /// <summary>What it is one of, as the name of a file.</summary>
    public string Key =>
        Convert.ToHexStringLower(
            SHA256.HashData(Encoding.UTF8.GetBytes($"{Registry}\n{Repository}\n{Tag ?? Digest?.ToString()}"))
        );

    public override string ToString() => $"{Repository}{(Tag is null ? $"@{Digest}" : $":{Tag}")} of {Registry}";
}
