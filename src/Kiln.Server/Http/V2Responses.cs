using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>How answers are written: exact content types without a charset, and a length on HEAD too.</summary>
internal static class V2Responses
{
    public static async Task WriteJsonAsync(
        this V2Context context,
        ReadOnlyMemory<byte> body,
        string contentType = MediaTypes.Json,
        int status = StatusCodes.Status200OK
    )
    {
        var response = context.Response;
        response.StatusCode = status;
        response.ContentType = contentType;
        response.ContentLength = body.Length;
        if (!context.IsHead)
        {
            await response.Body.WriteAsync(body, context.Cancel);
        }
    }

    /// <summary>
    /// The type to answer in: <paramref name="own"/>, unless the client asks for plain JSON and nothing else
    /// (build-extension, "Media types").
    /// </summary>
    public static string Accepts(this V2Context context, string own) =>
        context.Request.Headers.Accept.ToString().Trim() == MediaTypes.Json ? MediaTypes.Json : own;

    /// <summary>201 for what can be pulled now under <paramref name="kind"/> and its digest.</summary>
    public static void WriteCreated(this V2Context context, string kind, Digest digest)
    {
        var response = context.Response;
        response.StatusCode = StatusCodes.Status201Created;
        response.Headers.Location = $"/v2/{context.Repository}/{kind}/{digest}";
        response.Headers["Docker-Content-Digest"] = digest.ToString();
        response.ContentLength = 0;
    }

    /// <summary>Says where the next page is (RFC 8288). Values that are null are left out.</summary>
    public static void SetNext(
        this V2Context context,
        string path,
        params ReadOnlySpan<(string Name, string? Value)> query
    )
    {
        var url = path;
        var separator = '?';
        foreach (var (name, value) in query)
        {
            if (value is not null)
            {
                url += $"{separator}{name}={Uri.EscapeDataString(value)}";
                separator = '&';
            }
        }

        context.Response.Headers.Link = $"<{url}>; rel=\"next\"";
    }
}
