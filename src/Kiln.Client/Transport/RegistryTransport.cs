using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Kiln.Oci;

namespace Kiln.Client.Transport;

/// <summary>Sends calls: to the right place, with the right credentials, again where that may help.</summary>
internal sealed class RegistryTransport : IDisposable
{
    private const int MaxRedirects = 5;
    private const int MaxErrorBytes = 64 * 1024;
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(10);

    // Capped as oras and containers-image do: a registry may ask for hours.
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromSeconds(60);

    private readonly RegistryClientOptions _options;
    private readonly Authenticator _authenticator;
    private readonly HttpClient _proxied;
    private readonly HttpClient _direct;

    public RegistryTransport(RegistryClientOptions options)
    {
        _options = options;
        _authenticator = new Authenticator(options);
        _proxied = Client(useProxy: true);
        // What listens on this machine's loopback is not behind any proxy.
        _direct = Client(useProxy: false);
    }

    public RegistryClientOptions Options => _options;

    /// <summary>Where a call is to go that a registry has sent on to an address.</summary>
    public string TargetOf(string location) =>
        _options.StaysAtAddress && RegistryAddress.ApiPath(location) is { } path ? path : location;

    public void Dispose()
    {
        _proxied.Dispose();
        _direct.Dispose();
    }

    /// <summary>Sends and returns a response with a success status, or one that the call expects.</summary>
    /// <exception cref="RegistryException">Anything else.</exception>
    public async Task<HttpResponseMessage> SendAsync(Call call, CancellationToken cancel)
    {
        for (var attempt = 1; ; attempt++)
        {
            TimeSpan? asked = null;
            try
            {
                var response = await SendOnceAsync(call, cancel);
                var status = (int)response.StatusCode;
                if (response.IsSuccessStatusCode || call.Expected.Contains(status))
                {
                    return response;
                }

                using (response)
                {
                    if (attempt >= _options.Attempts || !MayHelp(call, status))
                    {
                        throw await RefusalAsync(call, response, cancel);
                    }

                    asked = RetryAfter(response);
                }
            }
            catch (HttpRequestException e) when (e.InnerException is AddressRefusedException refused)
            {
                throw new RegistryException(RegistryFault.NotAllowed, call.Action, refused.Message, e)
                {
                    Host = call.Host,
                };
            }
            catch (Exception e) when (e is HttpRequestException or IOException or TimeoutException)
            {
                if (attempt >= _options.Attempts || !MayHelp(call, e))
                {
                    throw Unreachable(call, e);
                }
            }

            await Task.Delay(asked ?? Pause(attempt), _options.Time, cancel);
        }
    }

    /// <summary>The body of a response, guarded against silence. Owns the response.</summary>
    public async Task<Stream> OpenBodyAsync(HttpResponseMessage response, CancellationToken cancel) =>
        new IdleStream(response, await response.Content.ReadAsStreamAsync(cancel), _options.IdleTimeout, _options.Time);

    /// <summary>Sends, and reads a small body whole.</summary>
    public async Task<(HttpResponseMessage Response, byte[] Body)> SendAndReadAsync(
        Call call,
        int limit,
        CancellationToken cancel
    )
    {
        for (var attempt = 1; ; attempt++)
        {
            var response = await SendAsync(call, cancel);
            try
            {
                await using var body = await OpenBodyAsync(response, cancel);
                return (response, await BoundedBody.ReadAsync(body, limit, cancel));
            }
            catch (InvalidDataException e)
            {
                throw new RegistryException(RegistryFault.Broken, call.Action, e.Message, e);
            }
            catch (Exception e) when (e is HttpRequestException or IOException)
            {
                // The answer broke off half way.
                if (attempt >= _options.Attempts || !call.Repeatable)
                {
                    throw Unreachable(call, e);
                }
            }

            await Task.Delay(Pause(attempt), _options.Time, cancel);
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(Call call, CancellationToken cancel)
    {
        if (_options.Preset is { } preset && preset.IsFor(call.Host))
        {
            return await SendAndRedirectAsync(call, new AuthenticationHeaderValue(preset.Scheme, preset.Value), cancel);
        }

        var authorization = _authenticator.Known(call);
        var response = await SendAndRedirectAsync(call, authorization, cancel);
        if (response.StatusCode != HttpStatusCode.Unauthorized)
        {
            return response;
        }

        var challenges = response.Headers.TryGetValues("WWW-Authenticate", out var values) ? values.ToArray() : [];
        var origin = Origin(call);
        var answer = await _authenticator.AnswerAsync(call, challenges, Via(origin), cancel);
        if (answer is null || answer.Equals(authorization))
        {
            return response;
        }

        response.Dispose();
        return await SendAndRedirectAsync(call, answer, cancel);
    }

    private async Task<HttpResponseMessage> SendAndRedirectAsync(
        Call call,
        AuthenticationHeaderValue? authorization,
        CancellationToken cancel
    )
    {
        var origin = Origin(call);
        var uri = new Uri(origin, call.Target);
        for (var redirects = 0; ; redirects++)
        {
            var response = await SendToAsync(call, uri, SameOrigin(origin, uri) ? authorization : null, cancel);
            if (!IsRedirect(response.StatusCode) || response.Headers.Location is not { } location)
            {
                return response;
            }

            response.Dispose();
            var next = new Uri(uri, location);
            if (redirects == MaxRedirects || !MayFollow(call, uri, next))
            {
                throw new RegistryException(
                    RegistryFault.Broken,
                    call.Action,
                    $"{call.Host} redirects to {next.GetLeftPart(UriPartial.Path)}, which is not followed"
                );
            }

            uri = next;
        }
    }

    // Only reading is redirected (blobs in object stores), and never from TLS to plain HTTP.
    private static bool MayFollow(Call call, Uri from, Uri to) =>
        (call.Method == HttpMethod.Get || call.Method == HttpMethod.Head)
        && (to.Scheme == Uri.UriSchemeHttps || (to.Scheme == Uri.UriSchemeHttp && from.Scheme == Uri.UriSchemeHttp));

    private Task<HttpResponseMessage> SendToAsync(
        Call call,
        Uri uri,
        AuthenticationHeaderValue? authorization,
        CancellationToken cancel
    ) =>
        Patience.WithAsync(
            uri.Authority,
            _options,
            async (moved, token) =>
            {
                using var request = new HttpRequestMessage(call.Method, uri);
                request.Headers.Authorization = authorization;
                foreach (var (name, value) in call.Headers)
                {
                    request.Headers.TryAddWithoutValidation(name, value);
                }

                request.Content = call.Content?.Invoke(moved);
                return await Via(uri).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, token);
            },
            cancel
        );

    private Uri Origin(Call call) =>
        _options.Addresses.TryGetValue(call.Host, out var address)
            ? address
            : RegistryAddress.Of(call.Host, _options.InsecureRegistries);

    private HttpClient Via(Uri uri) => uri.IsLoopback ? _direct : _proxied;

    private HttpClient Client(bool useProxy)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = useProxy,
            // Null is the environment's.
            Proxy = _options.MayConnect is { } judge
                ? new GuardedProxy(_options.Proxy ?? HttpClient.DefaultProxy, judge)
                : _options.Proxy,
            ConnectTimeout = _options.ConnectTimeout,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(30),
        };
        if (_options.MayConnect is { } rule)
        {
            handler.ConnectCallback = new GuardedConnections(rule).ConnectAsync;
        }

        var client = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        client.DefaultRequestHeaders.UserAgent.Add(
            new ProductInfoHeaderValue("kiln", typeof(RegistryTransport).Assembly.GetName().Version?.ToString(3))
        );
        return client;
    }

    private static bool IsRedirect(HttpStatusCode status) => (int)status is 301 or 302 or 303 or 307 or 308;

    private static bool SameOrigin(Uri a, Uri b) =>
        a.Scheme == b.Scheme && a.Port == b.Port && a.Host.Equals(b.Host, StringComparison.OrdinalIgnoreCase);

    // 429 and 503 say that nothing was done; other 5xx may come after the deed.
    private static bool MayHelp(Call call, int status) =>
        status is 429 or 503 || (status is 500 or 502 or 504 && call.Repeatable);

    private static bool MayHelp(Call call, Exception e) =>
        e switch
        {
            HttpRequestException { HttpRequestError: HttpRequestError.NameResolutionError } => false,
            HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError } => false,
            HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError } => true,
            _ => call.Repeatable,
        };

    private TimeSpan Pause(int attempt)
    {
        var pause = _options.FirstPause * Math.Pow(2, attempt - 1);
        return pause < LongestPause ? pause : LongestPause;
    }

    private TimeSpan? RetryAfter(HttpResponseMessage response)
    {
        var header = response.Headers.RetryAfter;
        var asked = header?.Delta ?? header?.Date - _options.Time.GetUtcNow();
        return asked is null ? null
            : asked < TimeSpan.Zero ? TimeSpan.Zero
            : asked > LongestRetryAfter ? LongestRetryAfter
            : asked;
    }

    private async Task<RegistryException> RefusalAsync(
        Call call,
        HttpResponseMessage response,
        CancellationToken cancel
    )
    {
        var status = (int)response.StatusCode;
        var first = await FirstErrorAsync(call, response, cancel);
        var fault = status switch
        {
            401 or 403 => RegistryFault.NotAllowed,
            404 => RegistryFault.NotFound,
            429 or >= 500 => RegistryFault.Unavailable,
            _ => RegistryFault.Refused,
        };
        var why = first?.Message is { Length: > 0 } message
            ? message
            : $"HTTP {status} {response.ReasonPhrase}".TrimEnd();
        return new RegistryException(fault, call.Action, why)
        {
            Host = call.Host,
            Status = status,
            Code = first?.Code,
            RetryAfter = RetryAfter(response),
        };
    }

    private async Task<ErrorEntry?> FirstErrorAsync(Call call, HttpResponseMessage response, CancellationToken cancel)
    {
        try
        {
            var body = await Patience.WithAsync(
                call.Host,
                _options,
                (_, token) => BoundedBody.ReadAsync(response, MaxErrorBytes, token),
                cancel
            );
            return JsonSerializer.Deserialize(body, OciJson.Default.ErrorEnvelope)?.Errors is [var first, ..]
                ? first
                : null;
        }
        catch (Exception e)
            when (e is JsonException or IOException or InvalidDataException or HttpRequestException or TimeoutException)
        {
            // A body that is no OCI error (a proxy's page, say), or does not come: the status has to do.
            return null;
        }
    }

    private static RegistryException Unreachable(Call call, Exception e)
    {
        var cause = e;
        while (cause is not TimeoutException && cause.InnerException is { } inner)
        {
            cause = inner;
        }

        var why = e is HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError }
            ? $"{call.Host} offers no TLS that can be trusted ({cause.Message})"
            : $"{call.Host} cannot be reached ({cause.Message})";
        return new RegistryException(RegistryFault.Unreachable, call.Action, why, e) { Host = call.Host };
    }
}
