using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Hooks;

/// <summary>Somebody who is told of jobs: a web server of this process, that keeps what comes.</summary>
internal sealed class HookListener : IDisposable
{
    private const int MaxBodyBytes = 1 << 20;
    private const int Tries = 20;
    private const string ElsewherePath = "/elsewhere";
    private readonly HttpListener _listener;
    private readonly ConcurrentQueue<Heard> _heard = new();

    private HookListener(HttpListener listener, string url)
    {
        _listener = listener;
        Url = url;
        _ = ListenAsync();
    }

    public string Url { get; }

    /// <summary>The status of the answer to an event.</summary>
    public int Answer { get; set; } = 204;

    /// <summary>Whether the registry may send (CloudEvents, "Abuse Protection").</summary>
    public bool Consents { get; set; } = true;

    /// <summary>What came, in its order.</summary>
    public IReadOnlyList<Heard> All => [.. _heard];

    public static HookListener Start(string host)
    {
        for (var i = 0; i < Tries; i++)
        {
            var url = $"http://{host}:{RandomNumberGenerator.GetInt32(20_000, 60_000)}/{Session.Unique()}";
            var listener = new HttpListener();
            listener.Prefixes.Add(url + "/");
            try
            {
                listener.Start();
                return new HookListener(listener, url);
            }
            catch (HttpListenerException)
            {
                listener.Close();
            }
        }

        throw new SkippedException($"no port of {host} can be listened on");
    }

    /// <summary>Waits for something of a kind.</summary>
    public Task<Heard> NextAsync(Session session, Func<Heard, bool> wanted, string what) =>
        session.UntilAsync(() => Task.FromResult(_heard.FirstOrDefault(wanted)), what);

    public void Dispose() => _listener.Close();

    private async Task ListenAsync()
    {
        while (_listener.IsListening)
        {
            try
            {
                var context = await _listener.GetContextAsync();
                await HearAsync(context);
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException or IOException)
            {
                // It was closed, or somebody hung up.
            }
        }
    }

    private async Task HearAsync(HttpListenerContext context)
    {
        using var body = new MemoryStream();
        var buffer = new byte[8192];
        while (await context.Request.InputStream.ReadAsync(buffer) is > 0 and var read && body.Length < MaxBodyBytes)
        {
            body.Write(buffer, 0, read);
        }

        var isEvent = context.Request.HttpMethod == "POST";
        var status = isEvent ? Answer : 200;
        if (!isEvent && Consents)
        {
            context.Response.Headers["WebHook-Allowed-Origin"] = "*";
        }

        _heard.Enqueue(
            new Heard(
                context.Request.HttpMethod,
                context
                    .Request.Headers.AllKeys.OfType<string>()
                    .ToDictionary(
                        name => name,
                        name => context.Request.Headers[name] ?? "",
                        StringComparer.OrdinalIgnoreCase
                    ),
                body.ToArray(),
                status,
                context.Request.Url?.AbsolutePath.EndsWith(ElsewherePath, StringComparison.Ordinal) is true
            )
        );
        context.Response.StatusCode = status;
        if (status >= 300)
        {
            context.Response.Headers["Retry-After"] = "1";
            context.Response.Headers["Location"] = Url + ElsewherePath;
        }

        context.Response.Close();
    }
}

/// <summary>A request that came.</summary>
/// <param name="Answered">The status that it got.</param>
/// <param name="Elsewhere">It came to where a redirect had led.</param>
internal sealed record Heard(
    string Method,
    IReadOnlyDictionary<string, string> Headers,
    byte[] Body,
    int Answered,
    bool Elsewhere
)
{
    public bool IsEvent => Method == "POST";
}
