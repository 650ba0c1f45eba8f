using System.Text.Json;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>The one place that writes errors under <c>/v2/</c> (distribution-spec, "Error Codes").</summary>
internal static class OciErrorWriter
{
    public static async Task WriteAsync(HttpContext http, OciError error)
    {
        if (http.Response.HasStarted)
        {
            // Too late for an answer: a broken connection is the only honest sign.
            http.Abort();
            return;
        }

        var envelope = new ErrorEnvelope([new ErrorEntry(error.Code.Code, error.Message, error.Detail)]);
        var body = JsonSerializer.SerializeToUtf8Bytes(envelope, OciJson.Default.ErrorEnvelope);
        var response = http.Response;
        response.StatusCode = error.Code.Status;
        response.ContentType = MediaTypes.Json;
        response.ContentLength = body.Length;
        if (!HttpMethods.IsHead(http.Request.Method))
        {
            await response.Body.WriteAsync(body, http.RequestAborted);
        }
    }
}
