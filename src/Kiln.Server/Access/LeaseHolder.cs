using System.Text.RegularExpressions;

namespace Kiln.Server.Access;

/// <summary>Finds the lease of a credential, also one that is over; null where there is none.</summary>
internal delegate LeaseHolder? LeaseCredentials(string secret);

/// <summary>
/// A build node while it works for a lease: what it presents is the lease's own credential, which is no user's right
/// (build-extension, decision 10).
/// </summary>
/// <param name="Repository">Into whose staging area it pushes.</param>
/// <param name="Job">The job under which the lease's address is.</param>
/// <param name="Requester">Who asked for the build: what they may pull, the lease may, and no more.</param>
/// <param name="StagingTag">The one tag that it may push to; only the lease sees it.</param>
/// <param name="Expires">In Unix milliseconds; null where the lease is over.</param>
internal sealed partial record LeaseHolder(
    string Id,
    string Execution,
    string Job,
    string Repository,
    string Requester,
    string StagingTag,
    long? Expires
)
{
    /// <summary>Whether it counts now.</summary>
    public bool IsLive(TimeProvider time) => Expires > time.GetUtcNow().ToUnixTimeMilliseconds();

    /// <summary>Whether a text has the form of a lease's credential.</summary>
    public static bool IsSecret(string text) => Secret().IsMatch(text);

    [GeneratedRegex(@"\Akiln_lease_[A-Za-z0-9_-]{43}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Secret();
}
