using System.Net;
using System.Text;
using Kiln.Server.Metering;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Kiln.Server.Operation;

/// <summary>
/// <c>/healthz</c> and <c>/readyz</c> at every address, and <c>/metrics</c> at the management address. None of them asks who
/// comes: they say nothing of anybody, and a probe has no credentials.
/// </summary>
internal sealed class Management(Health health, MetricsPage? metrics)
{
    public const string Live = "/healthz";
    public const string Ready = "/readyz";
    public const string Metrics = "/metrics";

    private const string PlainText = "text/plain; charset=utf-8";

    /// <summary>Opens the management address, if there is one.</summary>
    /// <exception cref="ServerStartException">It is not an <c>http</c> URL of an address.</exception>
    public static void Listen(KestrelServerOptions kestrel, OperationOptions options)
    {
        if (options.ManagementUrl is { } url)
        {
            kestrel.Listen(
                EndPointOf(url),
                listen =>
                {
                    listen.Protocols = HttpProtocols.Http1;
                    listen.Use(Mark);
                }
            );
        }
    }

    /// <exception cref="ServerStartException">It is not an <c>http</c> URL of an address.</exception>
    public static IPEndPoint EndPointOf(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url)
        && url.Scheme == Uri.UriSchemeHttp
        && url is { AbsolutePath: "/", Query: "" }
        && IPAddress.TryParse(url.Host.Trim('[', ']'), out var address)
            ? new IPEndPoint(address, url.Port)
            : throw new ServerStartException(
                $"the management address '{text}' is not of the form http://127.0.0.1:9090"
            );

    /// <summary>Answers what is meant for this part, and lets the rest pass.</summary>
    public async Task InvokeAsync(HttpContext http, RequestDelegate next)
    {
        var managing = http.Features.Get<ManagementConnection>() is not null;
        var path = http.Request.Path.Value;
        if (path is Live or Ready or Metrics && (managing || path != Metrics))
        {
            http.Features.Set(new MatchedRoute(path));
            await AnswerAsync(http, path);
        }
        else if (managing)
        {
            await WriteAsync(http, StatusCodes.Status404NotFound, $"There are {Live}, {Ready} and {Metrics} here.\n");
        }
        else
        {
            await next(http);
        }
    }

    private async Task AnswerAsync(HttpContext http, string path)
    {
        if (!HttpMethods.IsGet(http.Request.Method) && !HttpMethods.IsHead(http.Request.Method))
        {
            http.Response.Headers.Allow = "GET, HEAD";
            await WriteAsync(http, StatusCodes.Status405MethodNotAllowed, "Only GET is supported here.\n");
        }
        else if (path == Live)
        {
            await WriteAsync(http, StatusCodes.Status200OK, "ok\n");
        }
        else if (path == Metrics)
        {
            await WriteAsync(http, StatusCodes.Status200OK, metrics?.Write() ?? "", MetricsPage.ContentType);
        }
        else
        {
            var fault = await health.FaultAsync(http.RequestAborted);
            await WriteAsync(
                http,
                fault is null ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable,
                fault is null ? "ready\n" : $"not ready: {fault}\n"
            );
        }
    }

    private static async Task WriteAsync(HttpContext http, int status, string text, string type = PlainText)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        http.Response.StatusCode = status;
        http.Response.ContentType = type;
        http.Response.ContentLength = bytes.Length;
        http.Response.Headers.CacheControl = "no-store";
        if (!HttpMethods.IsHead(http.Request.Method))
        {
            await http.Response.Body.WriteAsync(bytes, http.RequestAborted);
        }
    }

    private static ConnectionDelegate Mark(ConnectionDelegate next) =>
        connection =>
        {
            connection.Features.Set(new ManagementConnection());
            return next(connection);
        };

    /// <summary>Marks a connection that came in at the management address.</summary>
    private sealed class ManagementConnection;
}
