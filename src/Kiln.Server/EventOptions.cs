namespace Kiln.Server;

/// <summary>What the server tells others, and how long it tries.</summary>
public sealed record EventOptions
{
    /// <summary>Who is told of pushes and deletions.</summary>
    public IReadOnlyList<WebhookOptions> Webhooks { get; init; } = [];

    /// <summary>
    /// Addresses or networks (<c>10.0.0.0/8</c>) to which hooks that users register may lead although they are private, of
    /// this machine or of the local link; there <c>http</c> is allowed as well.
    /// </summary>
    public IReadOnlyList<string> AllowedAddresses { get; init; } = [];

    /// <summary>Hooks that a repository may have.</summary>
    public int MaxHooks { get; init; } = 16;

    /// <summary>Hooks that all repositories may have together.</summary>
    public int MaxHooksInAll { get; init; } = 1000;

    /// <summary>A delivery that has not come about after so long is given up.</summary>
    public TimeSpan GiveUpAfter { get; init; } = TimeSpan.FromDays(4);

    /// <summary>Deliveries that may wait for one receiver; of more the oldest are given up.</summary>
    public int MaxWaiting { get; init; } = 10_000;

    /// <summary>How long deliveries that were given up are kept, to be tried again by hand.</summary>
    public TimeSpan KeepGivenUp { get; init; } = TimeSpan.FromDays(7);

    /// <summary>Of those, so many are kept for each receiver.</summary>
    public int MaxGivenUp { get; init; } = 1000;
}

/// <summary>Someone whom the operator has told of pushes and deletions.</summary>
public sealed record WebhookOptions
{
    /// <summary>Letters, digits and hyphens; what is waiting is known by it.</summary>
    public required string Name { get; init; }

    public required string Url { get; init; }

    /// <summary>A file with a secret, <c>whsec_…</c>, in its first line, and perhaps an older one in its second.</summary>
    public required string SecretFile { get; init; }

    /// <summary>Patterns of the repositories that they are told of.</summary>
    public IReadOnlyList<string> Repositories { get; init; } = ["**"];

    /// <summary><c>push</c> and <c>delete</c>.</summary>
    public IReadOnlyList<string> Events { get; init; } = [Push, Delete];

    public const string Push = "push";
    public const string Delete = "delete";
}
