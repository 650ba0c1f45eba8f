using System.Text.Json.Serialization;

namespace Kiln.Client.Administration;

/// <summary>Someone who is told what happens.</summary>
public sealed record DeliveryTargetView
{
    /// <summary><c>webhook:NAME</c> of the configuration, or <c>hook:ID</c> of a repository.</summary>
    [JsonPropertyName("receiver")]
    public required string Receiver { get; init; }

    [JsonPropertyName("url")]
    public required string Url { get; init; }

    /// <summary>Deliveries that are still tried.</summary>
    [JsonPropertyName("waiting")]
    public required long Waiting { get; init; }

    /// <summary>Deliveries that were given up and are kept for a while.</summary>
    [JsonPropertyName("givenUp")]
    public required long GivenUp { get; init; }

    /// <summary>Since when nothing has come through.</summary>
    [JsonPropertyName("failingSince")]
    public DateTimeOffset? FailingSince { get; init; }

    /// <summary>Since when the receiver wants nothing any more: it answered 410.</summary>
    [JsonPropertyName("stoppedSince")]
    public DateTimeOffset? StoppedSince { get; init; }

    /// <summary>What the last failure was.</summary>
    [JsonPropertyName("error")]
    public string? Error { get; init; }
}

/// <summary>Answer of <c>GET /admin/v1/deliveries</c>.</summary>
public sealed record DeliveryList(
    [property: JsonPropertyName("receivers")] IReadOnlyList<DeliveryTargetView> Receivers
);

/// <summary>Answer of <c>POST /admin/v1/deliveries/RECEIVER</c>: how many deliveries are tried again.</summary>
public sealed record DeliveryRetry([property: JsonPropertyName("deliveries")] int Deliveries);
