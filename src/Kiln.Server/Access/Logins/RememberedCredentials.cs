using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;

namespace Kiln.Server.Access.Logins;

/// <summary>
/// Credentials that were found right, so that no password or signature is checked for every request. What is kept is a
/// hash under a key of this process; an entry counts as long as the policy is the one it was checked with.
/// </summary>
internal sealed class RememberedCredentials(TimeProvider time)
{
    private const int MaxEntries = 20_000;
    private static readonly TimeSpan Longest = TimeSpan.FromHours(1);

    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);
    private readonly ConcurrentDictionary<Key, Entry> _entries = new();

    /// <summary>A keyed hash of what was presented.</summary>
    public readonly record struct Key(UInt128 High, UInt128 Low);

    private sealed record Entry(Caller Caller, long Generation, DateTimeOffset Expires);

    // What a connection presented last, as the very object: the web server reuses it for a header that says the same again.
    private sealed record Latest(string Credentials, Entry Entry);

    private static readonly object LatestKey = new();

    /// <summary>The key of an <c>Authorization</c> header's value.</summary>
    public Key KeyOf(string credentials)
    {
        Span<byte> hash = stackalloc byte[HMACSHA256.HashSizeInBytes];
        HMACSHA256.HashData(_key, Encoding.UTF8.GetBytes(credentials), hash);
        return new Key(
            System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(hash),
            System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(hash[16..])
        );
    }

    /// <summary>Whose they are; null where that has to be found out.</summary>
    /// <param name="key"><see cref="KeyOf"/> the credentials.</param>
    /// <param name="credentials">The header's value.</param>
    /// <param name="generation">The policy's.</param>
    /// <param name="connection">What belongs to the connection that they came by; null where there is no such thing.</param>
    public Caller? Find(Key key, string credentials, long generation, IDictionary<object, object?>? connection)
    {
        if (!_entries.TryGetValue(key, out var entry) || !Counts(entry, generation))
        {
            return null;
        }

        if (connection is not null)
        {
            connection[LatestKey] = new Latest(credentials, entry);
        }

        return entry.Caller;
    }

    /// <summary>
    /// Whose they are, without a hash, where the same connection has just presented the same object; null where that has to be
    /// found out.
    /// </summary>
    public Caller? FindLatest(string credentials, long generation, IDictionary<object, object?>? connection) =>
        connection is not null
        && connection.TryGetValue(LatestKey, out var last)
        && last is Latest latest
        && ReferenceEquals(latest.Credentials, credentials)
        && Counts(latest.Entry, generation)
            ? latest.Entry.Caller
            : null;

    private bool Counts(Entry entry, long generation) =>
        entry.Generation == generation && entry.Expires > time.GetUtcNow();

    /// <summary>Keeps them, at most until <paramref name="expires"/>.</summary>
    public void Remember(Key key, Caller caller, long generation, DateTimeOffset? expires)
    {
        var now = time.GetUtcNow();
        if (_entries.Count >= MaxEntries)
        {
            MakeRoom(generation, now);
        }

        var longest = now + Longest;
        _entries[key] = new Entry(caller, generation, expires < longest ? expires.Value : longest);
    }

    private void MakeRoom(long generation, DateTimeOffset now)
    {
        foreach (var (key, entry) in _entries)
        {
            if (entry.Generation != generation || entry.Expires <= now)
            {
                _entries.TryRemove(key, out _);
            }
        }

        if (_entries.Count >= MaxEntries)
        {
            _entries.Clear();
        }
    }
}
