using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;

namespace Kiln.Server.Delivery;

/// <summary>How a try went.</summary>
/// <param name="Error">Why it was not heard; null where it was.</param>
/// <param name="Gone">The receiver wants nothing any more.</param>
/// <param name="RetryAfter">When it wants to hear again.</param>
internal sealed record SendOutcome(string? Error, bool Gone = false, TimeSpan? RetryAfter = null);

/// <summary>
/// Posts events. Whatever the receiver answers is its status and a few headers: nothing of a body is read, no redirect is
/// followed.
/// </summary>
internal sealed class Sender : IDisposable
{
    private const string OriginHeader = "WebHook-Request-Origin";
    private const string AllowedOriginHeader = "WebHook-Allowed-Origin";
    private const string AllowedRateHeader = "WebHook-Allowed-Rate";
    private const int MaxHeadersKiB = 16;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(15);

    private readonly HttpClient _trusted;
    private readonly HttpClient _guarded;
    private readonly TimeProvider _time;

    public Sender(HookAddresses addresses, TimeProvider time)
    {
        _time = time;
        _trusted = new HttpClient(Handler()) { Timeout = Timeout };
        var guarded = Handler();
        guarded.ConnectCallback = addresses.ConnectAsync;
        // A proxy would look up names by itself.
        guarded.UseProxy = false;
        _guarded = new HttpClient(guarded) { Timeout = Timeout };
    }

    /// <summary>Tries once.</summary>
    public async Task<SendOutcome> SendAsync(
        DeliveryTarget target,
        string id,
        ReadOnlyMemory<byte> body,
        CancellationToken cancel
    )
    {
        var now = _time.GetUtcNow();
        using var request = new HttpRequestMessage(HttpMethod.Post, target.Url);
        request.Content = new ReadOnlyMemoryContent(body);
        request.Content.Headers.ContentType = new MediaTypeHeaderValue(CloudEvent.MediaType);
        request.Headers.Add("webhook-id", id);
        request.Headers.Add("webhook-timestamp", now.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture));
        request.Headers.Add("webhook-signature", Signature.Of(target.Keys, id, now.ToUnixTimeSeconds(), body.Span));
        var (outcome, error) = await TryAsync(target, request, response => Outcome(response, now), cancel);
        return outcome ?? new SendOutcome(error);
    }

    /// <summary>
    /// Asks a receiver whether it wants events from here (CloudEvents, webhook 3, "Abuse Protection").
    /// </summary>
    /// <returns>How many in a minute it wants at most, null for any number; in the second place why it wants none.</returns>
    public async Task<(int? PerMinute, string? Refusal)> AskAsync(DeliveryTarget target, CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(HttpMethod.Options, target.Url);
        var (answer, error) = await TryAsync(target, request, response => Consent(response, target.Origin), cancel);
        return error is not null ? (null, error) : (answer!.PerMinute, answer.Refusal);
    }

    public void Dispose()
    {
        _trusted.Dispose();
        _guarded.Dispose();
    }

    private static SocketsHttpHandler Handler() =>
        new()
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            ConnectTimeout = TimeSpan.FromSeconds(10),
            // Names are looked up again now and then.
            PooledConnectionLifetime = TimeSpan.FromMinutes(2),
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(30),
            MaxConnectionsPerServer = 4,
            MaxResponseHeadersLength = MaxHeadersKiB,
            ActivityHeadersPropagator = null,
        };

    private async Task<(T? Answer, string? Error)> TryAsync<T>(
        DeliveryTarget target,
        HttpRequestMessage request,
        Func<HttpResponseMessage, T> read,
        CancellationToken cancel
    )
        where T : class
    {
        if (target.Origin is { } origin)
        {
            request.Headers.Add(OriginHeader, origin);
        }

        try
        {
            var client = target.IsTrusted ? _trusted : _guarded;
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel);
            return (read(response), null);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return (null, $"did not answer within {Timeout.TotalSeconds} seconds");
        }
        catch (Exception e) when (e is HttpRequestException or SocketException or IOException)
        {
            return (null, e.Message);
        }
    }

    private static SendOutcome Outcome(HttpResponseMessage response, DateTimeOffset now)
    {
        var status = (int)response.StatusCode;
        return response.IsSuccessStatusCode ? new SendOutcome(null)
            : response.StatusCode == HttpStatusCode.Gone ? new SendOutcome("answered 410", Gone: true)
            : new SendOutcome($"answered {status}", RetryAfter: RetryAfter(response, now));
    }

    private static TimeSpan? RetryAfter(HttpResponseMessage response, DateTimeOffset now) =>
        response.Headers.RetryAfter is { } header
            ? header.Delta ?? (header.Date is { } date && date > now ? date - now : null)
            : null;

    private static Answer Consent(HttpResponseMessage response, string? origin)
    {
        if (!response.IsSuccessStatusCode)
        {
            return new Answer(null, $"answered {(int)response.StatusCode} to OPTIONS");
        }

        var allowed = Header(response, AllowedOriginHeader);
        if (allowed != "*" && !string.Equals(allowed, origin, StringComparison.OrdinalIgnoreCase))
        {
            return new Answer(null, $"answered OPTIONS without '{AllowedOriginHeader}: {origin}'");
        }

        var rate = Header(response, AllowedRateHeader);
        return new Answer(
            int.TryParse(rate, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0
                ? number
                : null,
            null
        );
    }

    private static string? Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) ? string.Join(',', values).Trim() : null;

    private sealed record Answer(int? PerMinute, string? Refusal);
}
