using System.Buffers.Binary;
using System.Buffers.Text;
using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Tokens;
using Kiln.Server.Metadata;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>
/// What builds may pull from the registry behind, through this server and with its login: of the repositories that their
/// recipes name, those from which whoever asked could pull when they asked. A build comes later, and has no credentials of
/// theirs.
/// </summary>
internal sealed partial class BuildPulls(Database database, TokenSigner signer, OwnHosts own, TimeProvider time)
{
    private const string Prefix = "kiln_pull_";
    private const int MacBytes = 32;
    private const int UntilBytes = 8;

    // From the request to the build's beginning.
    private static readonly TimeSpan Memory = TimeSpan.FromDays(2);

    // Bases are fetched at a build's beginning; large ones take their time.
    private static readonly TimeSpan Lifetime = TimeSpan.FromHours(2);

    // The servers of a database have the same key.
    private readonly byte[] _key = signer.KeyFor("kiln pull secrets");

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

    /// <summary>
    /// The login that a build gets with its lease: for whom and how long stands in it, under this server's key. It is good
    /// for pulls through this server, and those that share its keys, alone.
    /// </summary>
    public LeaseRegistry LoginFor(DbConnection connection, string principal)
    {
        var said = new byte[UntilBytes + Encoding.UTF8.GetByteCount(principal)];
        BinaryPrimitives.WriteInt64BigEndian(said, (time.GetUtcNow() + Lifetime).ToUnixTimeMilliseconds());
        Encoding.UTF8.GetBytes(principal, said.AsSpan(UntilBytes));
        byte[] secret = [.. HMACSHA256.HashData(_key, said), .. said];
        return new LeaseRegistry
        {
            Hosts = own.All,
            Token = Prefix + Base64Url.EncodeToString(secret),
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

        return Requester(secret) is { } principal
            ? May(principal, repository)
            : throw new OciException(ErrorCodes.Denied, "this build's time to pull is over");
    }

    // For whom a secret is; null where its time is over, or it is none.
    private string? Requester(string secret)
    {
        var text = secret.AsSpan(Prefix.Length);
        if (!Base64Url.IsValid(text))
        {
            return null;
        }

        var bytes = Base64Url.DecodeFromChars(text).AsSpan();
        if (bytes.Length <= MacBytes + UntilBytes)
        {
            return null;
        }

        var said = bytes[MacBytes..];
        return
            CryptographicOperations.FixedTimeEquals(HMACSHA256.HashData(_key, said), bytes[..MacBytes])
            && BinaryPrimitives.ReadInt64BigEndian(said) > time.Milliseconds()
            ? Encoding.UTF8.GetString(said[UntilBytes..])
            : null;
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

    [GeneratedRegex(@"\Akiln_pull_[A-Za-z0-9_-]{43,2000}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Form();
}
