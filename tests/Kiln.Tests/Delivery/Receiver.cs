using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Delivery;

/// <summary>Someone who is told: a web server that keeps what comes and answers as the test says.</summary>
internal sealed class Receiver : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private readonly Channel<Heard> _heard = Channel.CreateUnbounded<Heard>();
    private readonly WebApplication _app;
    private int _posts;

    private Receiver(WebApplication app) => _app = app;

    /// <summary>What it answers to posts from now on.</summary>
    public Action<HttpResponse> Answer { get; set; } = _ => { };

    /// <summary>Posts are answered when this is over.</summary>
    public Task Open { get; set; } = Task.CompletedTask;

    /// <summary>Posts that have come, answered or not.</summary>
    public int Posts => Volatile.Read(ref _posts);

    /// <summary>What it answers to OPTIONS.</summary>
    public Action<HttpResponse> Consent { get; set; } = response => response.Headers["WebHook-Allowed-Origin"] = "*";

    public string Url => _app.Urls.Single() + "/events";

    public static async Task<Receiver> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        var app = builder.Build();
        app.Urls.Add("http://127.0.0.1:0");
        var receiver = new Receiver(app);
        app.Run(receiver.HearAsync);
        await app.StartAsync();
        return receiver;
    }

    /// <summary>The next request.</summary>
    public async Task<Heard> NextAsync()
    {
        using var limit = new CancellationTokenSource(Patience);
        return await _heard.Reader.ReadAsync(limit.Token);
    }

    /// <summary>The next request, for which the server's clock is moved in steps.</summary>
    public async Task<Heard> NextAsync(FakeTimeProvider time, TimeSpan step)
    {
        using var limit = new CancellationTokenSource(Patience);
        Heard? heard;
        while (!_heard.Reader.TryRead(out heard))
        {
            time.Advance(step);
            await Task.Delay(20, limit.Token);
        }

        return heard;
    }

    public bool HasMore => _heard.Reader.TryPeek(out _);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private async Task HearAsync(HttpContext http)
    {
        using var body = new MemoryStream();
        await http.Request.Body.CopyToAsync(body);
        if (HttpMethods.IsOptions(http.Request.Method))
        {
            Consent(http.Response);
        }
        else
        {
            Interlocked.Increment(ref _posts);
            await Open;
            Answer(http.Response);
        }

        _heard.Writer.TryWrite(
            new Heard(
                http.Request.Method,
                http.Request.Headers.ToDictionary(
                    h => h.Key,
                    h => h.Value.ToString(),
                    StringComparer.OrdinalIgnoreCase
                ),
                body.ToArray()
            )
        );
    }
}

/// <summary>A request that came.</summary>
internal sealed record Heard(string Method, IReadOnlyDictionary<string, string> Headers, byte[] Body)
{
    public JsonNode Event => JsonNode.Parse(Body)!;

    public string Type => (string)Event["type"]!;

    public string Id => Headers["webhook-id"];

    /// <summary>Checks the signature as Standard Webhooks says, by itself.</summary>
    public void ShouldBeSigned(string secret, DateTimeOffset about)
    {
        var stamp = long.Parse(Headers["webhook-timestamp"], CultureInfo.InvariantCulture);
        Assert.InRange(stamp, about.ToUnixTimeSeconds() - 300, about.ToUnixTimeSeconds() + 300);
        byte[] text = [.. Encoding.UTF8.GetBytes($"{Id}.{stamp}."), .. Body];
        var key = Convert.FromBase64String(secret["whsec_".Length..]);
        var expected = "v1," + Convert.ToBase64String(HMACSHA256.HashData(key, text));
        Assert.Contains(expected, Headers["webhook-signature"].Split(' '));
    }
}
