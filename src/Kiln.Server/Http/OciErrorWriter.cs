using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>The one place that writes errors under <c>/v2/</c> (distribution-spec, "Error Codes").</summary>
internal static class OciErrorWriter
{
    // Messages quote names with apostrophes; they are read by people, and never inside HTML.
    private static readonly OciJson Json = new(
        new JsonSerializerOptions(OciJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }
    );

    private const string RetrySeconds = "30";

    public static async Task WriteAsync(HttpContext http, OciError error)
    {
        if (http.Response.HasStarted)
        {
            // Too late for an answer: a broken connection is the only honest sign.
            http.Abort();
            return;
        }

        var envelope = new ErrorEnvelope([new ErrorEntry(error.Code.Code, error.Message, error.Detail)]);
        var body = JsonSerializer.SerializeToUtf8Bytes(envelope, Json.ErrorEnvelope);
        var response = http.Response;
        response.StatusCode = error.Code.Status;
        if (error.RetryAfter is { } wait)
        {
            response.Headers.RetryAfter = Math.Ceiling(wait.TotalSeconds).ToString(CultureInfo.InvariantCulture);
        }

        if (error.Code.Status == StatusCodes.Status429TooManyRequests && response.Headers.RetryAfter.Count == 0)
        {
            // "the registry SHOULD" say when to come back; who knows it better has said so already.
            response.Headers.RetryAfter = RetrySeconds;
        }

        response.ContentType = MediaTypes.Json;
        response.ContentLength = body.Length;
        if (!HttpMethods.IsHead(http.Request.Method))
        {
            await response.Body.WriteAsync(body, http.RequestAborted);
        }
    }
}
