using System.Globalization;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>What requests say beside their path: bodies with a limit, media types, preferences.</summary>
internal static class V2Requests
{
    /// <summary>The longest wait that a client gets (build-extension: below the 60 s at which proxies give up), in seconds.</summary>
    public const int MaxWaitSeconds = 55;

    /// <summary>The whole body.</summary>
    /// <param name="limit">Bytes at most.</param>
    /// <exception cref="OciException"><paramref name="tooLarge"/>.</exception>
    public static async Task<byte[]> ReadBodyAsync(this V2Context context, int limit, OciError tooLarge)
    {
        if (context.Request.ContentLength > limit)
        {
            throw new OciException(tooLarge);
        }

        // The announced length is only believed as far as bytes have come.
        using var content = new MemoryStream();
        var buffer = new byte[16 << 10];
        while (await context.Request.Body.ReadAsync(buffer, context.Cancel) is > 0 and var read)
        {
            if (content.Length + read > limit)
            {
                throw new OciException(tooLarge);
            }

            content.Write(buffer, 0, read);
        }

        return content.ToArray();
    }

    /// <summary>The media type of the body without its parameters; empty where there is none.</summary>
    public static string BodyType(this V2Context context)
    {
        var text = context.Request.ContentType ?? "";
        var semicolon = text.IndexOf(';', StringComparison.Ordinal);
        return (semicolon < 0 ? text : text[..semicolon]).Trim().ToLowerInvariant();
    }

    /// <summary>
    /// How long the client wants to wait (<c>Prefer: wait=N</c>, RFC 7240, 4.3), cut to what it may, and says so in the
    /// answer; null where it does not want to.
    /// </summary>
    public static TimeSpan? PreferredWait(this V2Context context)
    {
        foreach (var header in context.Request.Headers["Prefer"])
        {
            foreach (var preference in (header ?? "").Split([',', ';'], StringSplitOptions.TrimEntries))
            {
                if (
                    preference.StartsWith("wait=", StringComparison.OrdinalIgnoreCase)
                    && long.TryParse(
                        preference.AsSpan("wait=".Length),
                        NumberStyles.None,
                        CultureInfo.InvariantCulture,
                        out var seconds
                    )
                )
                {
                    var wait = Math.Min(seconds, MaxWaitSeconds);
                    context.Response.Headers["Preference-Applied"] = $"wait={wait}";
                    return TimeSpan.FromSeconds(wait);
                }
            }
        }

        return null;
    }
}
