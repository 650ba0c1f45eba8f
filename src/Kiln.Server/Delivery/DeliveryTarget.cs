namespace Kiln.Server.Delivery;

/// <summary>Where a delivery goes, and how it is signed.</summary>
internal sealed record DeliveryTarget
{
    public required Uri Url { get; init; }

    /// <summary>Keys of signatures, the newest first.</summary>
    public required IReadOnlyList<byte[]> Keys { get; init; }

    /// <summary>Whether the operator named it; what others named goes to public addresses only.</summary>
    public bool IsTrusted { get; init; }

    /// <summary>Who sends, for <c>WebHook-Request-Origin</c> (CloudEvents, webhook 2.1); null where that is not known.</summary>
    public string? Origin { get; init; }

    /// <summary>What the receiver allows to be sent in a minute; null for any number.</summary>
    public int? PerMinute { get; init; }
}

/// <summary>Receivers of one kind.</summary>
internal interface IDeliveryTargets
{
    /// <summary>What the ids of its receivers begin with.</summary>
    string Prefix { get; }

    /// <summary>The receiver of an id; null where there is none any more.</summary>
    DeliveryTarget? Find(string id);
}
