using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Kiln.Server.Access.Policies;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>What the registry behind said to a question about somebody's rights.</summary>
/// <param name="Status">Of its answer.</param>
/// <param name="Challenges">Its <c>WWW-Authenticate</c>, as it came.</param>
internal sealed record Verdict(bool Allowed, int Status, IReadOnlyList<string> Challenges);

/// <summary>
/// What the registry behind allowed of late, so that not each request asks it. Credentials are kept as a hash under a key of
/// this process. What it allowed holds for <see cref="Lifetime"/>; what it refused is kept of nobody but those who bring no
/// credentials, since the next token may be for it.
/// </summary>
internal sealed class Verdicts(TimeProvider time)
{
    /// <summary>For how long a right that was taken away behind may still be used for builds in front.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(1);

    private const int MaxEntries = 20_000;

    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);
    private readonly ConcurrentDictionary<string, (Verdict Verdict, DateTimeOffset Until)> _entries = new(
        StringComparer.Ordinal
    );

    /// <summary>What was said; null where that has to be asked.</summary>
    /// <param name="http">From where: a registry may let in some machines without credentials, and others not.</param>
    /// <param name="authorization">The credentials; null for none.</param>
    /// <param name="repository">Empty for the registry as a whole.</param>
    public Verdict? Find(HttpContext http, string? authorization, string repository, Rights right) =>
        _entries.TryGetValue(KeyOf(http, authorization, repository, right), out var entry)
        && entry.Until > time.GetUtcNow()
            ? entry.Verdict
            : null;

    /// <inheritdoc cref="Find"/>
    public void Keep(HttpContext http, string? authorization, string repository, Rights right, Verdict verdict)
    {
        if (!verdict.Allowed && authorization is not null)
        {
            return;
        }

        if (_entries.Count >= MaxEntries)
        {
            _entries.Clear();
        }

        _entries[KeyOf(http, authorization, repository, right)] = (verdict, time.GetUtcNow() + Lifetime);
    }

    // Names have no line ends.
    private string KeyOf(HttpContext http, string? authorization, string repository, Rights right) =>
        Convert.ToBase64String(
            HMACSHA256.HashData(
                _key,
                Encoding.UTF8.GetBytes(
                    $"{http.Connection.RemoteIpAddress}\n{repository}\n{right}\n{authorization ?? "\n"}"
                )
            )
        );
}
