using System.Diagnostics;
using System.Globalization;
using Kiln.Server.Access;
using Kiln.Server.Metering;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Http;

/// <summary>
/// Around every request: gives it an id, which its answer carries and its log lines have, counts and times it, and writes the
/// access log.
/// </summary>
internal sealed partial class RequestWatch(
    RequestDelegate next,
    ServerOptions options,
    TimeProvider time,
    ILogger<RequestWatch> log
)
{
    private const string IdHeader = "X-Request-Id";
    private const int MaxIdLength = 64;
    private static readonly Func<ILogger, string, IDisposable?> LogScope = LoggerMessage.DefineScope<string>(
        "request {RequestId}"
    );
    private const string UnknownRoute = "unknown";
    private static readonly string[] Methods = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];

    public async Task InvokeAsync(HttpContext http)
    {
        var id = IdOf(http);
        http.TraceIdentifier = id;
        http.Response.Headers[IdHeader] = id;
        var start = time.GetTimestamp();
        // Text has no room for it.
        using var scope = options.Operation.LogFormat == LogFormat.Json ? LogScope(log, id) : null;
        Meters.ActiveRequests.Add(1);
        try
        {
            await next(http);
        }
        finally
        {
            Meters.ActiveRequests.Add(-1);
            Finish(http, time.GetElapsedTime(start));
        }
    }

    private void Finish(HttpContext http, TimeSpan took)
    {
        var route = http.Features.Get<MatchedRoute>()?.Template ?? UnknownRoute;
        var status = http.Response.StatusCode;
        if (Meters.Requests.Enabled)
        {
            var method = Methods.Contains(http.Request.Method, StringComparer.Ordinal) ? http.Request.Method : "other";
            Meters.Requests.Record(
                took.TotalSeconds,
                new("route", route),
                new("method", method),
                new("status", Text(status))
            );
            if (http.Response.ContentLength is { } sent and > 0 && !HttpMethods.IsHead(http.Request.Method))
            {
                Meters.SentBytes.Add(sent, new KeyValuePair<string, object?>("route", route));
            }
        }

        if (Activity.Current is { } activity)
        {
            activity.DisplayName = $"{http.Request.Method} {route}";
            activity.SetTag("http.route", route);
            activity.SetTag("http.response.status_code", status);
            activity.SetTag("kiln.request.id", http.TraceIdentifier);
        }

        if (options.Operation.AccessLog)
        {
            LogRequest(
                log,
                http.Connection.RemoteIpAddress?.ToString() ?? "-",
                (http.Features.Get<Caller>()?.Principal ?? Principal.Anonymous).Name,
                http.Request.Method,
                V2Context.Shorten(http.Request.Path.Value ?? ""),
                status,
                http.Response.ContentLength ?? 0,
                (long)took.TotalMilliseconds,
                http.TraceIdentifier
            );
        }
    }

    // A proxy's id is kept, so that its log and this one can be read together; not what could be anything in a log.
    private static string IdOf(HttpContext http)
    {
        var given = http.Request.Headers[IdHeader].ToString();
        return
            given.Length is > 0 and <= MaxIdLength
            && given.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
            ? given
            : Guid.NewGuid().ToString("N");
    }

    private static string Text(int status) =>
        status switch
        {
            StatusCodes.Status200OK => "200",
            StatusCodes.Status404NotFound => "404",
            _ => status.ToString(CultureInfo.InvariantCulture),
        };

    [LoggerMessage(
        Level = LogLevel.Information,
        Message = "{Address} {Principal} {Method} {Path} {Status} {Bytes} {Milliseconds}ms {RequestId}"
    )]
    private static partial void LogRequest(
        ILogger log,
        string address,
        string principal,
        string method,
        string path,
        int status,
        long bytes,
        long milliseconds,
        string requestId
    );
}
