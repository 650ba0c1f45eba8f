using System.Net;
using System.Net.Http.Headers;
using System.Security.Authentication;

namespace Kiln.Conformance.Wire;

/// <summary>
/// HTTP to one registry: every request has an end in time, every answer one in size, redirects of reads are followed, and
/// who asks is said when the registry wants to know.
/// </summary>
internal sealed class Connection : IDisposable
{
    private const int MaxBodyBytes = 32 << 20;
    private const int MaxRedirects = 5;
    private readonly HttpClient _http;
    private readonly Login _login;
    private readonly TimeSpan _patience;
    private readonly Uri _root;

    public Connection(ConformanceOptions options)
    {
        var handler = new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false };
        if (options.InsecureTls)
        {
#pragma warning disable CA5359 // Its user has asked for it, with OCI_TLS=insecure: a registry that is tried out.
            handler.SslOptions.RemoteCertificateValidationCallback = (_, _, _, _) => true;
#pragma warning restore CA5359
        }

        _http = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        _login = new Login(_http, options);
        _patience = options.RequestTimeout;
        _root = options.Url;
    }

    /// <summary>The registry's <c>host[:port]</c>.</summary>
    public string Host => _root.Authority;

    /// <summary>Lines about the requests since the last time that it was emptied.</summary>
    public List<string> Exchanges { get; } = [];

    /// <exception cref="CheckFailedException">There was no answer in time, or none that can be read.</exception>
    public async Task<Answer> SendAsync(Call call, CancellationToken cancel)
    {
        var uri = new Uri(_root, call.Path);
        var request = $"{call.Method} {uri.AbsolutePath}";
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(_patience + call.Wait);
        try
        {
            for (var redirects = 0; ; redirects++)
            {
                using var response = await AuthorizedAsync(call, uri, limit.Token);
                Note($"{call.Method} {uri.AbsolutePath} → {(int)response.StatusCode}");
                if (
                    redirects < MaxRedirects
                    && call.Method is "GET" or "HEAD"
                    && (int)response.StatusCode is 301 or 302 or 303 or 307 or 308
                    && response.Headers.Location is { } location
                )
                {
                    uri = new Uri(uri, location);
                    continue;
                }

                var body = await ReadAsync(response, request, limit.Token);
                return new Answer(request, uri, response, body);
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            Note($"{request} → no answer");
            throw new CheckFailedException(
                $"{request} was not answered within {(_patience + call.Wait).TotalSeconds} s"
            );
        }
        catch (Exception e) when (e is HttpRequestException or IOException or AuthenticationException)
        {
            Note($"{request} → {e.Message}");
            throw new CheckFailedException($"{request} was not answered: {e.Message}");
        }
    }

    /// <summary>Opens an answer that may have no end; whoever gets it disposes it.</summary>
    public async Task<HttpResponseMessage> OpenAsync(Call call, CancellationToken cancel)
    {
        var uri = new Uri(_root, call.Path);
        var response = await AuthorizedAsync(call, uri, cancel);
        Note($"{call.Method} {uri.AbsolutePath} → {(int)response.StatusCode}, read as it comes");
        return response;
    }

    public void Dispose() => _http.Dispose();

    private async Task<HttpResponseMessage> AuthorizedAsync(Call call, Uri uri, CancellationToken cancel)
    {
        var own = uri.Authority == _root.Authority;
        var login = own && call.Authorization is null;
        var response = await OnceAsync(
            call,
            uri,
            login ? _login.Known(call, uri)
                : own ? call.Authorization
                : null,
            cancel
        );
        if (!login || response.StatusCode != HttpStatusCode.Unauthorized)
        {
            return response;
        }

        var challenges = response.Headers.WwwAuthenticate.ToList();
        if (await _login.AnswerAsync(challenges, call, uri, cancel) is not { } answer)
        {
            return response;
        }

        response.Dispose();
        return await OnceAsync(call, uri, answer, cancel);
    }

    private async Task<HttpResponseMessage> OnceAsync(
        Call call,
        Uri uri,
        string? authorization,
        CancellationToken cancel
    )
    {
        using var request = new HttpRequestMessage(new HttpMethod(call.Method), uri);
        if (authorization is { Length: > 0 })
        {
            request.Headers.TryAddWithoutValidation("Authorization", authorization);
        }

        if (call.Body is not null)
        {
            request.Content = call.Streamed
                ? new StreamContent(new UnknownLength(call.Body))
                : new ByteArrayContent(call.Body);
            request.Headers.TransferEncodingChunked = call.Streamed ? true : null;
            if (call.Type is not null)
            {
                request.Content.Headers.TryAddWithoutValidation("Content-Type", call.Type);
            }
        }

        foreach (var (name, value) in call.Headers)
        {
            if (!request.Headers.TryAddWithoutValidation(name, value))
            {
                (request.Content ??= new ByteArrayContent([])).Headers.TryAddWithoutValidation(name, value);
            }
        }

        return await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel);
    }

    private static async Task<byte[]> ReadAsync(HttpResponseMessage response, string request, CancellationToken cancel)
    {
        await using var stream = await response.Content.ReadAsStreamAsync(cancel);
        using var body = new MemoryStream();
        var buffer = new byte[32 << 10];
        while (await stream.ReadAsync(buffer, cancel) is > 0 and var read)
        {
            if (body.Length + read > MaxBodyBytes)
            {
                throw new CheckFailedException($"{request} was answered with more than {MaxBodyBytes} bytes");
            }

            body.Write(buffer, 0, read);
        }

        return body.ToArray();
    }

    private void Note(string line)
    {
        lock (Exchanges)
        {
            Exchanges.Add(line);
        }
    }

    /// <summary>Bytes whose number the HTTP client cannot find out beforehand.</summary>
    private sealed class UnknownLength(byte[] bytes) : MemoryStream(bytes, writable: false)
    {
        public override bool CanSeek => false;
    }
}
