using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Kiln.Oci;
using BCryptNet = BCrypt.Net.BCrypt;

namespace Kiln.Server.Access.Logins;

/// <summary>
/// Checks passwords against bcrypt hashes. That is slow on purpose: only so many at a time, so that logins cannot take
/// the processors from those who are logged in, and the same for users that are not there.
/// </summary>
internal sealed class Passwords : IDisposable
{
    /// <summary>Checks that may wait; more are sent away.</summary>
    private const int MaxWaiting = 64;

    private readonly SemaphoreSlim _slots = new(Math.Max(1, Environment.ProcessorCount / 2));
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);
    private int _waiting;

    /// <summary>Whether a user has this password.</summary>
    /// <exception cref="OciException"><c>TOOMANYREQUESTS</c>, 429: too many checks wait already.</exception>
    public async Task<bool> CheckAsync(Htpasswd users, string user, string password, CancellationToken cancel)
    {
        var hash = users.Find(user);
        var name = HMACSHA256.HashData(_key, Encoding.UTF8.GetBytes(user));
        if ((hash ?? users.Decoy(BinaryPrimitives.ReadUInt32LittleEndian(name))) is not { } compared)
        {
            return false;
        }

        if (Interlocked.Increment(ref _waiting) > MaxWaiting)
        {
            Interlocked.Decrement(ref _waiting);
            throw new OciException(ErrorCodes.TooManyRequests, "too many logins at once; try again in a moment");
        }

        try
        {
            await _slots.WaitAsync(cancel);
        }
        finally
        {
            Interlocked.Decrement(ref _waiting);
        }

        try
        {
            return await Task.Run(() => BCryptNet.Verify(password, compared), CancellationToken.None)
                && hash is not null;
        }
        finally
        {
            _slots.Release();
        }
    }

    public void Dispose() => _slots.Dispose();
}
