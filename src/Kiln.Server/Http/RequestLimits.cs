using Kiln.Oci;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Kiln.Server.Http;

/// <summary>
/// How long an address and headers may be. Kestrel has limits of its own, past which it answers by itself, without a body
/// and before anybody here sees the request; they are set somewhat higher, so that who is only a little too long is told
/// what is too long.
/// </summary>
internal static class RequestLimits
{
    /// <summary>Characters of the request's target: room for a manifest's tags in its query.</summary>
    public const int MaxTarget = 16 << 10;

    /// <summary>Bytes of all headers.</summary>
    public const int MaxHeaders = 32 << 10;

    public const int MaxHeaderCount = 100;

    // What of an answer may wait for its socket: the next pieces of a blob are read while these are sent.
    private const int MaxUnsent = 256 << 10;

    public static void Apply(KestrelServerLimits limits)
    {
        limits.MaxResponseBufferSize = MaxUnsent;
        limits.MaxRequestLineSize = MaxTarget * 3 / 2;
        limits.MaxRequestHeadersTotalSize = MaxHeaders * 3 / 2;
        limits.MaxRequestHeaderCount = MaxHeaderCount * 2;
    }

    /// <exception cref="OciException"><c>UNSUPPORTED</c>, 414 or 431.</exception>
    public static void Check(HttpContext http)
    {
        var target = http.Features.Get<IHttpRequestFeature>()!.RawTarget;
        if (target.Length > MaxTarget)
        {
            throw new OciException(
                ErrorCodes.AddressTooLong,
                $"the address has {target.Length} characters; {MaxTarget} is the limit. A manifest's tags can be set in several requests"
            );
        }

        var (count, bytes) = (0, 0L);
        foreach (var (name, values) in http.Request.Headers)
        {
            foreach (var value in values)
            {
                count++;
                bytes += name.Length + (value?.Length ?? 0) + ": \r\n".Length;
            }
        }

        if (bytes > MaxHeaders || count > MaxHeaderCount)
        {
            throw new OciException(
                ErrorCodes.HeadersTooLarge,
                $"the request has {count} headers of {bytes} bytes; {MaxHeaderCount} of {MaxHeaders} bytes is the limit"
            );
        }
    }
}
