using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Kiln.Oci;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Notifications;

/// <summary>
/// Takes notifications: <c>POST /notifications/NAME</c>, with the secret in a header or as one more part of the path.
/// Answers as soon as what is to be looked at is durable; senders wait for that, one after the other.
/// </summary>
internal sealed partial class NotificationListener(
    NotificationOptions options,
    IReadOnlyDictionary<string, WatchedPlace> places,
    WishSpool spool,
    WatchedBuilds builds,
    NodeStatus status,
    TimeProvider time,
    ILoggerFactory logs
) : IAsyncDisposable
{
    private const int MaxConnections = 200;
    private const int MaxTold = 20;
    private const string RetrySeconds = "60";
    private readonly ILogger _log = logs.CreateLogger<NotificationListener>();
    private WebApplication? _app;

    /// <summary>Where it listens, once it does.</summary>
    public IPEndPoint Address { get; private set; } = options.Listen;

    /// <exception cref="IOException">The address cannot be listened on.</exception>
    public async Task StartAsync(CancellationToken cancel)
    {
        // Empty: what the others add reads settings from the environment and from files of the current directory.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { Args = [] });
        builder.WebHost.UseKestrelCore();
        builder.Services.AddSingleton(logs);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxBodyBytes;
            kestrel.Limits.MaxConcurrentConnections = MaxConnections;
            kestrel.Listen(options.Listen);
        });
        _app = builder.Build();
        _app.Run(AnswerAsync);
        await _app.StartAsync(cancel);
        Address = IPEndPoint.Parse(new Uri(_app.Urls.Single()).Authority);
    }

    public async Task StopAsync()
    {
        if (_app is not null)
        {
            await _app.StopAsync(CancellationToken.None);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_app is not null)
        {
            await _app.DisposeAsync();
        }
    }

    private async Task AnswerAsync(HttpContext http)
    {
        try
        {
            await RouteAsync(http);
        }
        catch (BadHttpRequestException e)
        {
            await SayAsync(
                http,
                e.StatusCode,
                e.StatusCode == StatusCodes.Status413PayloadTooLarge
                    ? $"a notification has at most {options.MaxBodyBytes} bytes"
                    : "the request cannot be read"
            );
        }
        catch (Exception e) when (!http.RequestAborted.IsCancellationRequested)
        {
            // A disk that is full, for example: it is to be sent again.
            LogFault(_log, e);
            http.Response.Headers.RetryAfter = RetrySeconds;
            await SayAsync(
                http,
                StatusCodes.Status503ServiceUnavailable,
                "the notification could not be kept; send it again"
            );
        }
    }

    private Task RouteAsync(HttpContext http)
    {
        var parts = (http.Request.Path.Value ?? "").Split('/', StringSplitOptions.RemoveEmptyEntries);
        var reads = HttpMethods.IsGet(http.Request.Method) || HttpMethods.IsHead(http.Request.Method);
        var posts = HttpMethods.IsPost(http.Request.Method);
        return (parts.ElementAtOrDefault(0), parts.Length) switch
        {
            ("healthz", 1) when reads => SayAsync(http, StatusCodes.Status200OK, "ok"),
            ("status", 1 or 2) when reads => StatusAsync(http, parts.ElementAtOrDefault(1)),
            ("notifications", 2 or 3) when posts => TakeAsync(http, parts[1], parts.ElementAtOrDefault(2)),
            ("notifications", _) => NotAllowedAsync(http),
            _ => SayAsync(
                http,
                StatusCodes.Status404NotFound,
                "there is nothing here; notifications go to /notifications/NAME"
            ),
        };
    }

    private async Task TakeAsync(HttpContext http, string name, string? secret)
    {
        if (!places.TryGetValue(name, out var place))
        {
            await SayAsync(http, StatusCodes.Status404NotFound, "no registry of that name is watched here");
            return;
        }

        if (!IsLetIn(http, place, secret))
        {
            await DenyAsync(http);
            return;
        }

        using var body = new MemoryStream();
        await http.Request.Body.CopyToAsync(body, http.RequestAborted);
        if (NotificationReader.Read(body.GetBuffer().AsMemory(0, (int)body.Length), out var fault) is not { } found)
        {
            LogRefused(_log, name, fault!);
            await SayAsync(http, StatusCodes.Status400BadRequest, fault!);
            return;
        }

        var (accepted, ignored) = (0, new List<string>());
        foreach (var notification in found)
        {
            switch (Take(place.Registry, notification, out var why))
            {
                case WishRefusal.Full:
                    http.Response.Headers.RetryAfter = RetrySeconds;
                    await SayAsync(http, StatusCodes.Status503ServiceUnavailable, "too much waits here; send it again");
                    return;
                case null when why is null:
                    accepted++;
                    break;
                default:
                    ignored.Add(why!);
                    break;
            }
        }

        var told = string.Concat(ignored.Distinct(StringComparer.Ordinal).Take(MaxTold).Select(why => $"\n{why}"));
        await SayAsync(http, StatusCodes.Status202Accepted, $"{accepted} accepted, {ignored.Count} ignored{told}");
    }

    // Why a notification comes to nothing is told, and no fault of the sender's: some of them send it again for ever.
    private WishRefusal? Take(WatchedRegistry registry, Notification notification, out string? why)
    {
        why = null;
        if (notification.Host is { } host && !registry.IsAt(host))
        {
            why =
                $"{host} is not {registry.Host}; where it is another name of it, add it to the aliases of {registry.Name}";
            LogForeign(_log, host, registry.Host, registry.Name);
            return null;
        }

        if (!registry.Watches(notification.Repository.Value))
        {
            why = $"the repository {notification.Repository} is not watched";
            return null;
        }

        if (notification is { Digest: null, Tag: null })
        {
            why = "it names neither a tag nor a digest";
            return null;
        }

        if (notification.Tag is { } tag && ReferrersTag().IsMatch(tag.Value))
        {
            why = "such a tag lists what is attached to something else";
            return null;
        }

        if (notification.Digest is { } digest && builds.IsOwn(digest))
        {
            why = "this node has pushed it";
            return null;
        }

        var refusal = spool.Add(
            new Wish
            {
                Registry = registry.Name,
                Repository = notification.Repository.Value,
                Tag = notification.Tag?.Value,
                Digest = notification.Digest,
                Event = notification.Event,
                Received = time.GetUtcNow().ToUnixTimeMilliseconds(),
            }
        );
        if (refusal == WishRefusal.RepositoryFull)
        {
            why = $"too many notifications of {notification.Repository} wait";
            LogDropped(_log, notification.Repository.Value, registry.Name);
        }

        return refusal;
    }

    private Task StatusAsync(HttpContext http, string? secret)
    {
        // Whoever knows one registry's secret hears of that registry.
        var open = places.Where(place => IsLetIn(http, place.Value, secret)).Select(place => place.Key).ToHashSet();
        if (open.Count == 0)
        {
            return DenyAsync(http);
        }

        http.Response.ContentType = "application/json";
        var told = WatchStatus.Of(
            status.Abilities,
            [.. spool.All.Where(wish => open.Contains(wish.Registry))],
            [.. builds.All.Where(build => open.Contains(build.Registry))]
        );
        return JsonSerializer.SerializeAsync(
            http.Response.Body,
            told,
            NotificationJson.Default.WatchStatus,
            http.RequestAborted
        );
    }

    private static bool IsLetIn(HttpContext http, WatchedPlace place, string? secret) =>
        place.Secret is { } shared
            ? shared.IsIn(http.Request.Headers.Authorization is [{ } header] ? header : null, secret)
            : secret is null;

    private static Task DenyAsync(HttpContext http)
    {
        http.Response.Headers.WWWAuthenticate = "Basic realm=\"kiln node\"";
        return SayAsync(http, StatusCodes.Status401Unauthorized, "the secret is missing or wrong");
    }

    private static Task NotAllowedAsync(HttpContext http)
    {
        http.Response.Headers.Allow = "POST";
        return SayAsync(
            http,
            StatusCodes.Status405MethodNotAllowed,
            "notifications are sent with POST to /notifications/NAME"
        );
    }

    private static async Task SayAsync(HttpContext http, int code, string text)
    {
        http.Response.StatusCode = code;
        http.Response.ContentType = "text/plain; charset=utf-8";
        await http.Response.WriteAsync(string.Create(CultureInfo.InvariantCulture, $"{text}\n"), http.RequestAborted);
    }

    // distribution-spec, "Referrers Tag Schema": this node writes such tags itself, and so do many tools.
    [GeneratedRegex(@"\Asha(256|512)-[0-9a-f]{64}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex ReferrersTag();

    [LoggerMessage(Level = LogLevel.Warning, Message = "A notification to {Name} was refused: {Why}")]
    private static partial void LogRefused(ILogger log, string name, string why);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "A notification of {Foreign} was ignored: it is not {Host}; where it is another name of it, add it to the aliases of {Name}"
    )]
    private static partial void LogForeign(ILogger log, string foreign, string host, string name);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Too many notifications of {Repository} of {Name} wait; one was dropped"
    )]
    private static partial void LogDropped(ILogger log, string repository, string name);

    [LoggerMessage(Level = LogLevel.Error, Message = "A notification could not be kept")]
    private static partial void LogFault(ILogger log, Exception exception);
}
