using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Kiln.Tests.Conformance;

/// <summary>
/// A reverse proxy in front of a registry that breaks one requirement. The way back, from the registry to those who
/// listen for its events, leads through it as well.
/// </summary>
internal sealed class BreakingProxy : IAsyncDisposable
{
    private const string HookPath = "/hook/";
    private static readonly string[] HopByHop = ["Transfer-Encoding", "Connection", "Keep-Alive", "Content-Length"];
    private readonly WebApplication _app;
    private readonly HttpClient _http;
    private readonly Uri _registry;
    private readonly Mutation? _mutation;

    /// <summary>By the address of a listener: with what events for it are signed.</summary>
    private readonly ConcurrentDictionary<string, string> _secrets = new(StringComparer.Ordinal);

    private BreakingProxy(WebApplication app, Uri registry, Mutation? mutation)
    {
        _app = app;
        _registry = registry;
        _mutation = mutation;
        _http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
    }

    public string Url => _app.Urls.Single();

    /// <param name="mutation">What is broken; nothing where null.</param>
    public static async Task<BreakingProxy> StartAsync(Uri registry, Mutation? mutation)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Limits.MaxRequestBodySize = null);
        var app = builder.Build();
        app.Urls.Add("http://127.0.0.1:0");
        var proxy = new BreakingProxy(app, registry, mutation);
        app.Run(proxy.HandleAsync);
        await app.StartAsync();
        return proxy;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _http.Dispose();
    }

    private async Task HandleAsync(HttpContext http)
    {
        var exchange = await ReadAsync(http);
        exchange.Secret = _secrets.GetValueOrDefault(exchange.Path);
        _mutation?.Change(exchange, false);
        if (exchange.Swallowed is { } status)
        {
            exchange.Status = status;
            await WriteAsync(http.Response, exchange);
            return;
        }

        using var response = await SendAsync(http, exchange);
        exchange.Status = (int)response.StatusCode;
        foreach (var (name, values) in response.Headers.Concat(response.Content.Headers))
        {
            exchange.Headers[name] = string.Join(", ", values);
        }

        exchange.Body = await response.Content.ReadAsByteArrayAsync(http.RequestAborted);
        if (exchange.Path.Contains("/_build/v1/hooks", StringComparison.Ordinal))
        {
            exchange.Body = Outwards(exchange.Body);
        }

        _mutation?.Change(exchange, true);
        await WriteAsync(http.Response, exchange);
    }

    private static async Task<Exchange> ReadAsync(HttpContext http)
    {
        using var body = new MemoryStream();
        await http.Request.Body.CopyToAsync(body, http.RequestAborted);
        var raw = http.Features.Get<IHttpRequestFeature>()!.RawTarget;
        var target = raw.StartsWith('/') ? raw : new Uri(raw).PathAndQuery;
        var question = target.IndexOf('?', StringComparison.Ordinal);
        return new Exchange
        {
            Method = http.Request.Method,
            Path = question < 0 ? target : target[..question],
            Query = question < 0 ? "" : target[question..],
            RequestHeaders = http.Request.Headers.ToDictionary(
                h => h.Key,
                h => h.Value.ToString(),
                StringComparer.OrdinalIgnoreCase
            ),
            RequestBody = body.ToArray(),
        };
    }

    private async Task<HttpResponseMessage> SendAsync(HttpContext http, Exchange exchange)
    {
        var target = exchange.Path.StartsWith(HookPath, StringComparison.Ordinal)
            ? new Uri(Encoding.UTF8.GetString(Convert.FromHexString(exchange.Path[HookPath.Length..])))
            : new Uri(_registry, exchange.Path + exchange.Query);
        using var request = new HttpRequestMessage(new HttpMethod(exchange.Method), target);
        var body =
            exchange.Method == "POST" && exchange.Path.EndsWith("/_build/v1/hooks", StringComparison.Ordinal)
                ? Inwards(exchange.RequestBody)
                : exchange.RequestBody;
        if (body.Length > 0 || http.Request.ContentLength is not null)
        {
            request.Content = new ByteArrayContent(body);
            request.Headers.TransferEncodingChunked = http.Request.ContentLength is null ? true : null;
        }

        foreach (var (name, value) in exchange.RequestHeaders)
        {
            if (
                !HopByHop.Contains(name, StringComparer.OrdinalIgnoreCase)
                && !request.Headers.TryAddWithoutValidation(name, value)
            )
            {
                request.Content?.Headers.TryAddWithoutValidation(name, value);
            }
        }

        return await _http.SendAsync(request, http.RequestAborted);
    }

    private static async Task WriteAsync(HttpResponse response, Exchange exchange)
    {
        response.StatusCode = exchange.Status;
        foreach (var (name, value) in exchange.Headers)
        {
            if (!HopByHop.Contains(name, StringComparer.OrdinalIgnoreCase))
            {
                response.Headers[name] = value;
            }
        }

        if (exchange.Method == "HEAD" || exchange.Status is 204 or 304)
        {
            if (exchange.Headers.TryGetValue("Content-Length", out var length) && exchange.Method == "HEAD")
            {
                response.Headers.ContentLength = long.Parse(length, null);
            }

            return;
        }

        response.ContentLength = exchange.Body.Length;
        await response.Body.WriteAsync(exchange.Body);
    }

    // Who registers an address is told of events through here.
    private byte[] Inwards(byte[] body)
    {
        if (Parse(body) is not JsonObject hook || hook["url"] is not JsonValue url || !IsOurs((string)url!))
        {
            return body;
        }

        var path = HookPath + Convert.ToHexString(Encoding.UTF8.GetBytes((string)url!));
        if (hook["secret"] is JsonValue secret)
        {
            _secrets[path] = (string)secret!;
        }

        hook["url"] = Url + path;
        return Encoding.UTF8.GetBytes(hook.ToJsonString());
    }

    private byte[] Outwards(byte[] body)
    {
        var text = Encoding.UTF8.GetString(body);
        for (var at = 0; (at = text.IndexOf(Url + HookPath, StringComparison.Ordinal)) >= 0; )
        {
            var end = text.IndexOf('"', at);
            var inner = Encoding.UTF8.GetString(Convert.FromHexString(text[(at + Url.Length + HookPath.Length)..end]));
            text = text[..at] + inner + text[end..];
        }

        return Encoding.UTF8.GetBytes(text);
    }

    private static bool IsOurs(string url) => url.StartsWith("http://127.0.0.1:", StringComparison.Ordinal);

    internal static JsonNode? Parse(byte[] body)
    {
        try
        {
            return JsonNode.Parse(body);
        }
        catch (System.Text.Json.JsonException)
        {
            return null;
        }
    }
}

/// <summary>A request and its answer, on their way.</summary>
internal sealed class Exchange
{
    public required string Method { get; init; }
    public required string Path { get; set; }
    public required string Query { get; set; }
    public required Dictionary<string, string> RequestHeaders { get; init; }
    public required byte[] RequestBody { get; set; }
    public int Status { get; set; }

    /// <summary>The status of an answer that the registry is not asked for.</summary>
    public int? Swallowed { get; set; }
    public Dictionary<string, string> Headers { get; } = new(StringComparer.OrdinalIgnoreCase);
    public byte[] Body { get; set; } = [];

    /// <summary>Whether this is an event on its way to its listener.</summary>
    public bool IsEvent => Method == "POST" && Path.StartsWith("/hook/", StringComparison.Ordinal);
    public string RequestText => Encoding.UTF8.GetString(RequestBody);
    public string Text => Encoding.UTF8.GetString(Body);

    /// <summary>Changes the answer's JSON.</summary>
    public void Edit(Action<JsonNode> edit) => Body = Edited(Body, edit);

    public void EditRequest(Action<JsonNode> edit) => RequestBody = Edited(RequestBody, edit);

    /// <summary>With what an event is signed.</summary>
    public string? Secret { get; set; }

    /// <summary>Changes an event, which is signed anew: what is broken is not the signature.</summary>
    public void EditEvent(Action<JsonNode> edit)
    {
        EditRequest(edit);
        RequestHeaders["webhook-id"] = BreakingProxy.Parse(RequestBody)?["id"]?.ToString() ?? "";
        if (Secret is not null)
        {
            byte[] text =
            [
                .. Encoding.UTF8.GetBytes($"{RequestHeaders["webhook-id"]}.{RequestHeaders["webhook-timestamp"]}."),
                .. RequestBody,
            ];
            var key = Convert.FromBase64String(Secret["whsec_".Length..]);
            RequestHeaders["webhook-signature"] = "v1," + Convert.ToBase64String(HMACSHA256.HashData(key, text));
        }
    }

    /// <summary>Answers something else.</summary>
    public void Answer(int status, string body = "")
    {
        Status = status;
        Body = Encoding.UTF8.GetBytes(body);
        Headers.Remove("Content-Range");
    }

    private static byte[] Edited(byte[] body, Action<JsonNode> edit)
    {
        if (BreakingProxy.Parse(body) is not { } json)
        {
            return body;
        }

        edit(json);
        return Encoding.UTF8.GetBytes(json.ToJsonString());
    }
}
