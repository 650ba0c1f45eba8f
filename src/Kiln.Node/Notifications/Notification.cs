using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// What a notification says: look at this. Nothing in it is believed beyond that, and where it comes from is not asked.
/// </summary>
/// <param name="Host">The registry, as whoever pushed or the registry itself calls it; null where it does not say.</param>
/// <param name="Tag">What was pushed to; null for a push by digest.</param>
/// <param name="Digest">What was pushed; null where it does not say.</param>
/// <param name="Event">By which the sender knows it when it comes again; null where it has none.</param>
internal sealed record Notification(string? Host, RepositoryName Repository, Tag? Tag, Digest? Digest, string? Event);
