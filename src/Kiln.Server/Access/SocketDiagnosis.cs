using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Access;

/// <summary>
/// Asks the kernel for one TCP socket of this machine by its two ends (sock_diag(7)). Its tables under <c>/proc/net</c> say the same,
/// but are made by walking all of its sockets' buckets: several milliseconds of processor time for each reading.
/// </summary>
internal static partial class SocketDiagnosis
{
    private const int HeaderBytes = 16;
    private const int RequestBytes = HeaderBytes + 56;

    // Of struct inet_diag_sockid, in a request and in an answer.
    private const int IdInRequest = HeaderBytes + 8;
    private const int IdInAnswer = HeaderBytes + 4;
    private const int EndsBytes = 36;

    // Of struct inet_diag_msg.
    private const int StateAt = HeaderBytes + 1;
    private const int UidAt = HeaderBytes + 64;
    private const int InodeAt = HeaderBytes + 68;
    private const int AnswerBytes = HeaderBytes + 72;

    private const int Netlink = 16;
    private const int RawCloseOnExec = 3 | 0x80000;
    private const int SockDiag = 4;
    private const ushort ByFamily = 20;
    private const ushort Request = 1;
    private const byte V4 = 2;
    private const byte V6 = 10;
    private const byte Tcp = 6;
    private const byte Listening = 10;
    private const int DoNotWait = 0x40;

    /// <summary>The owner and inode of the socket whose own end is <paramref name="own"/>.</summary>
    /// <returns>Null where there is no such socket, or this kernel does not answer such questions.</returns>
    public static (uint Uid, ulong Inode)? Find(IPEndPoint own, IPEndPoint other)
    {
        using var netlink = Open(Netlink, RawCloseOnExec, SockDiag);
        if (netlink.IsInvalid)
        {
            return null;
        }

        Span<byte> request = stackalloc byte[RequestBytes];
        Write(request, own, other);
        Span<byte> answer = stackalloc byte[512];
        // The answer is there when the question has been taken.
        if (
            Send(netlink, request, request.Length, DoNotWait) != request.Length
            || Receive(netlink, answer, answer.Length, DoNotWait) is var read && read < AnswerBytes
            || BinaryPrimitives.ReadUInt16LittleEndian(answer[4..]) != ByFamily
        )
        {
            return null;
        }

        // Where no connection has these ends the kernel offers who listens on the port. Of an IPv6 socket that speaks IPv4 it writes
        // the addresses as IPv6.
        Span<byte> ends = stackalloc byte[EndsBytes];
        WriteEnds(ends, own, other, answer[HeaderBytes] == V4);
        return answer[StateAt] != Listening && answer.Slice(IdInAnswer, EndsBytes).SequenceEqual(ends)
            ? (
                BinaryPrimitives.ReadUInt32LittleEndian(answer[UidAt..]),
                BinaryPrimitives.ReadUInt32LittleEndian(answer[InodeAt..])
            )
            : null;
    }

    // struct nlmsghdr and struct inet_diag_req_v2. A socket that speaks IPv4 through an IPv6 one is among those of IPv4.
    private static void Write(Span<byte> request, IPEndPoint own, IPEndPoint other)
    {
        request.Clear();
        var v4 = IsV4(own) && IsV4(other);
        BinaryPrimitives.WriteInt32LittleEndian(request, RequestBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(request[4..], ByFamily);
        BinaryPrimitives.WriteUInt16LittleEndian(request[6..], Request);
        request[HeaderBytes] = v4 ? V4 : V6;
        request[HeaderBytes + 1] = Tcp;
        request.Slice(HeaderBytes + 4, 4).Fill(0xff);
        WriteEnds(request[IdInRequest..], own, other, v4);
        // No cookie is known.
        request.Slice(IdInRequest + 40, 8).Fill(0xff);
    }

    private static void WriteEnds(Span<byte> id, IPEndPoint own, IPEndPoint other, bool v4)
    {
        BinaryPrimitives.WriteUInt16BigEndian(id, (ushort)own.Port);
        BinaryPrimitives.WriteUInt16BigEndian(id[2..], (ushort)other.Port);
        WriteAddress(id[4..], own.Address, v4);
        WriteAddress(id[20..], other.Address, v4);
    }

    private static void WriteAddress(Span<byte> to, IPAddress address, bool v4) =>
        (v4 ? address.MapToIPv4() : address.MapToIPv6()).TryWriteBytes(to, out _);

    private static bool IsV4(IPEndPoint end) =>
        end.AddressFamily == AddressFamily.InterNetwork || end.Address.IsIPv4MappedToIPv6;

    [LibraryImport("libc", EntryPoint = "socket")]
    private static partial SafeFileHandle Open(int domain, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "send")]
    private static partial nint Send(SafeFileHandle socket, ReadOnlySpan<byte> bytes, nint length, int flags);

    [LibraryImport("libc", EntryPoint = "recv")]
    private static partial nint Receive(SafeFileHandle socket, Span<byte> bytes, nint length, int flags);
}
