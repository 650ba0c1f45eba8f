using Kiln.Server.Builds.Secrets;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Hooks;

/// <summary>Where the deliveries of hooks go.</summary>
internal sealed class HookTargets(Database database, SecretVault secrets) : IDeliveryTargets
{
    /// <summary>What the ids of such receivers begin with.</summary>
    public const string IdPrefix = "hook:";

    public string Prefix => IdPrefix;

    public DeliveryTarget? Find(string id) =>
        database.Read(c => HookRow.Find(c, id[IdPrefix.Length..])) is { } row
        // With other keys than it was made with nobody could tell that it is the registry who sends.
        && secrets.Unseal(row.Target, row.Secret.Span) is { } key
            ? Target(row.Url, row.Origin, key) with
            {
                PerMinute = row.PerMinute,
            }
            : null;

    public static DeliveryTarget Target(string url, string origin, byte[] key) =>
        new()
        {
            Url = new Uri(url),
            Keys = [key],
            Origin = new Uri(origin).Authority,
        };
}
