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
}
