using System.Collections.Concurrent;
using System.Data.Common;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Logins;
using Kiln.Server.Metadata;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>
/// What builds may pull from the registry behind, through this server and with its login: of the repositories that their
/// recipes name, those from which whoever asked could pull when they asked. A build comes later, and has no credentials of
/// theirs.
/// </summary>
internal sealed partial class BuildPulls(Database database, OwnHosts own, TimeProvider time)
{
    private const string Prefix = "kiln_pull_";
    private const int SecretBytes = 32;
    private const int MaxSecrets = 10_000;

    // From the request to the build's beginning.
    private static readonly TimeSpan Memory = TimeSpan.FromDays(2);

    // Bases are fetched at a build's beginning; large ones take their time.
    private static readonly TimeSpan Lifetime = TimeSpan.FromHours(2);

    private readonly ConcurrentDictionary<string, (string Principal, DateTimeOffset Until)> _secrets = new(
        StringComparer.Ordinal
    );

    /// <summary>Notes that somebody may pull from a repository.</summary>
    public Task NoteAsync(string principal, RepositoryName repository, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                transaction.Run(
                    """
                    INSERT INTO front_pulls (principal, repository, seen) VALUES (@principal, @repository, @now)
                    ON CONFLICT (principal, repository) DO UPDATE SET seen = excluded.seen
                    """,
                    ("principal", principal),
                    ("repository", repository.Value),
                    ("now", time.Milliseconds())
                );
                transaction.Run("DELETE FROM front_pulls WHERE seen < @before", ("before", Oldest));
            },
            cancel
        );

    /// <summary>Whether a build of somebody may pull from a repository.</summary>
    public bool May(string principal, RepositoryName repository) =>
        database.Read(c =>
            c.Scalar<long?>(
                "SELECT seen FROM front_pulls WHERE principal = @principal AND repository = @repository AND seen >= @since",
                ("principal", principal),
                ("repository", repository.Value),
                ("since", Oldest)
            )
                is not null
        );

    /// <summary>The login that a build gets with its lease. It is good for pulls through this server alone.</summary>
    public LeaseRegistry LoginFor(DbConnection connection, string principal)
    {
        var now = time.GetUtcNow();
        if (_secrets.Count >= MaxSecrets)
        {
            foreach (var (old, entry) in _secrets.Where(s => s.Value.Until <= now))
            {
                _secrets.TryRemove(new(old, entry));
            }
        }

        var secret = Prefix + System.Buffers.Text.Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(SecretBytes));
        _secrets[secret] = (principal, now + Lifetime);
        return new LeaseRegistry
        {
            Hosts = own.All,
            Token = secret,
            Unasked = true,
        };
    }

    /// <summary>Whether credentials have the form of a build's; they are never passed on.</summary>
    public static bool IsSecret(string authorization) => SecretIn(authorization) is not null;

    /// <summary>
    /// Whether a build pulls with this server's login (true), or as nobody, since whoever asked for it could not pull from
    /// the repository then (false); null where it is no build's request.
    /// </summary>
    /// <exception cref="OciException"><c>DENIED</c>, 403: its time is over.</exception>
    public bool? Admit(HttpContext http, RepositoryName repository)
    {
        if (SecretIn(http.Request.Headers.Authorization.ToString()) is not { } secret)
        {
            return null;
        }

        return _secrets.TryGetValue(secret, out var known) && known.Until > time.GetUtcNow()
            ? May(known.Principal, repository)
            : throw new OciException(ErrorCodes.Denied, "this build's time to pull is over");
    }

    private long Oldest => (time.GetUtcNow() - Memory).ToUnixTimeMilliseconds();

    private static string? SecretIn(string header)
    {
        var text =
            header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase)
            && Login.ReadBasic(header["Basic ".Length..].Trim()) is var (_, password)
                ? password
            : header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header["Bearer ".Length..].Trim()
            : "";
        return Form().IsMatch(text) ? text : null;
    }

    [GeneratedRegex(@"\Akiln_pull_[A-Za-z0-9_-]{43}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Form();
}
