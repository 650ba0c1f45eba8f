using System.Buffers.Text;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Kiln.Server.Access;

/// <summary>
/// Finds to whom the other end of a loopback connection belongs. Both ends of such a connection are sockets of this machine, so
/// the kernel knows the peer's: it is asked (<see cref="SocketDiagnosis"/>), or, where it does not answer, its tables are read
/// (<c>/proc/net/tcp</c>, <c>tcp6</c>).
/// </summary>
internal static class PeerSockets
{
    private const int Attempts = 3;
    private static readonly string[] Tables = ["/proc/net/tcp", "/proc/net/tcp6"];

    /// <summary>The user id that owns the peer's socket; null where the kernel does not say.</summary>
    /// <param name="peer">The connection's remote end.</param>
    /// <param name="local">The connection's end in this process.</param>
    public static uint? Owner(IPEndPoint peer, IPEndPoint local)
    {
        // A table that changes while it is read may lack a row: look again before giving up.
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            if (Find(peer, local) is { } row)
            {
                // A socket whose process has closed it belongs to nobody, and the kernel then says 0, which is root's
                // number. Such a row has no inode, but owner and inode are not read at one moment: so an inode in a
                // later reading proves that the owner in the earlier one was real.
                return row.Inode != 0 && Find(peer, local) is { Inode: not 0 } again && again.Uid == row.Uid
                    ? row.Uid
                    : null;
            }
        }

        return null;
    }

    /// <summary>Whether a row of the table has these ends; its columns are 1 local, 2 remote, 7 uid, 9 inode.</summary>
    internal static (uint Uid, ulong Inode)? FindIn(ReadOnlySpan<byte> table, string ends)
    {
        var needle = Encoding.ASCII.GetBytes(ends);
        var at = table.IndexOf(needle);
        if (at < 0)
        {
            return null;
        }

        var rest = table[(at + needle.Length)..];
        var end = rest.IndexOf((byte)'\n');
        Span<Range> columns = stackalloc Range[8];
        var row = end < 0 ? rest : rest[..end];
        var count = 0;
        foreach (var column in row.Split((byte)' '))
        {
            if (!row[column].IsEmpty && count < columns.Length)
            {
                columns[count++] = column;
            }
        }

        // after the two ends: state, queues, timer, retransmits, uid, timeout, inode
        return
            count > 6
            && Utf8Parser.TryParse(row[columns[4]], out uint uid, out _)
            && Utf8Parser.TryParse(row[columns[6]], out ulong inode, out _)
            ? (uid, inode)
            : null;
    }

    /// <summary>Both ends of a connection as the tables write them, for the table of the address family.</summary>
    internal static string Ends(IPEndPoint first, IPEndPoint second, bool v6) =>
        $" {Address(first.Address, v6)}:{first.Port:X4} {Address(second.Address, v6)}:{second.Port:X4} ";

    private static (uint Uid, ulong Inode)? Find(IPEndPoint peer, IPEndPoint local) =>
        SocketDiagnosis.Find(peer, local) ?? FindInTables(peer, local);

    /// <summary>As the tables under <c>/proc/net</c> have it.</summary>
    internal static (uint Uid, ulong Inode)? FindInTables(IPEndPoint peer, IPEndPoint local)
    {
        foreach (var table in Tables)
        {
            var v6 = table.EndsWith('6');
            if (
                (v6 || IsV4(peer))
                && File.Exists(table)
                && FindIn(File.ReadAllBytes(table), Ends(peer, local, v6)) is { } row
            )
            {
                return row;
            }
        }

        return null;
    }

    private static bool IsV4(IPEndPoint end) =>
        end.AddressFamily == AddressFamily.InterNetwork || end.Address.IsIPv4MappedToIPv6;

    // The tables print each 32-bit word of an address as the processor keeps it. A peer may have opened an IPv6 socket
    // for an IPv4 address: it is in tcp6 then, mapped.
    private static string Address(IPAddress address, bool v6)
    {
        var bytes = (v6 ? address.MapToIPv6() : address.MapToIPv4()).GetAddressBytes();
        var text = new StringBuilder(bytes.Length * 2);
        for (var word = 0; word < bytes.Length; word += 4)
        {
            text.Append($"{BitConverter.ToUInt32(bytes, word):X8}");
        }

        return text.ToString();
    }
}
