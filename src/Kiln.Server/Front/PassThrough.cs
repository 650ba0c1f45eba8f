using System.Net;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Metering;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kiln.Server.Front;

/// <summary>
/// Passes requests on to the registry behind, and its answers back: methods, addresses, headers and bodies as they are. No
/// body is held, in either direction.
/// </summary>
internal sealed class PassThrough(RegistryBehind behind, ServerOptions options, TimeProvider time)
{
    private const int BufferBytes = 64 << 10;

    // Bytes of a body that are sent with its headers.
    private const long MaxUnasked = 16 << 10;

    // More is nothing but an attack.
    private const int MaxDecodings = 4;
    private static readonly TimeSpan FullPause = TimeSpan.FromSeconds(2);

    // What registries are spoken to with; PROPFIND and the like are not for here.
    private static readonly HashSet<string> Methods = new(StringComparer.OrdinalIgnoreCase)
    {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
    };

    private readonly string _self = $"kiln-{Guid.NewGuid():N}";
    private int _count;

    /// <summary>Requests that are passed on now.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Passes a request on and its answer back.</summary>
    /// <exception cref="OciException">It is refused, or there is no answer.</exception>
    public async Task AnswerAsync(HttpContext http)
    {
        using var answer = await SendAsync(http);
        await answer.WriteAsync();
    }

    /// <summary>Passes a request on. Dispose the answer.</summary>
    /// <param name="body">Its body, where that was read already.</param>
    /// <exception cref="OciException">It is refused, or there is no answer.</exception>
    public async Task<PassedAnswer> SendAsync(HttpContext http, ReadOnlyMemory<byte>? body = null)
    {
        Require(http);
        if (Interlocked.Increment(ref _count) > options.Front.MaxRequests)
        {
            Interlocked.Decrement(ref _count);
            throw new OciException(
                new OciError(
                    ErrorCodes.TooManyRequests,
                    $"{options.Front.MaxRequests} requests are being passed on to {behind.Host}, which is the limit here; try again in a moment"
                )
                {
                    RetryAfter = FullPause,
                }
            );
        }

        var clock = new IdleClock(options.Front.IdleTime, time, http.RequestAborted);
        try
        {
            using var request = Request(http, body, clock);
            var response = await behind.SendAsync(request, clock);
            // It may be a while before somebody wants its body.
            clock.Rest();
            FrontMeters.Passed.Add(
                1,
                new KeyValuePair<string, object?>("status", $"{(int)response.StatusCode / 100}xx")
            );
            return new PassedAnswer(http, response, clock, behind, CalledAddress.Of(http, options), Leave);
        }
        catch (Exception e)
        {
            clock.Dispose();
            Leave();
            if (e is OciException)
            {
                FrontMeters.Passed.Add(1, new KeyValuePair<string, object?>("status", "none"));
            }

            throw;
        }
    }

    /// <summary>A request of this server's own, on behalf of whoever asks: with their credentials and in their name.</summary>
    /// <param name="authorization">The credentials; null for none.</param>
    /// <exception cref="OciException">There is no answer.</exception>
    public async Task<HttpResponseMessage> AskAsync(
        HttpContext http,
        HttpMethod method,
        string target,
        string? authorization,
        HttpContent? content = null,
        string? accept = null
    )
    {
        using var clock = new IdleClock(options.Front.IdleTime, time, http.RequestAborted);
        using var request = new HttpRequestMessage(method, Address(target)) { Content = content };
        if (authorization is not null)
        {
            request.Headers.TryAddWithoutValidation("Authorization", authorization);
        }

        if (accept is not null)
        {
            request.Headers.TryAddWithoutValidation("Accept", accept);
        }

        PassedHeaders.Introduce(http, request, _self);
        return await behind.SendAsync(request, clock);
    }

    private void Leave() => Interlocked.Decrement(ref _count);

    private void Require(HttpContext http)
    {
        if (PassedHeaders.IsLoop(http, _self))
        {
            throw new OciException(
                ErrorCodes.Loop,
                $"this request has come through this registry before: {behind.Host} leads back to it; an operator has to name another registry in --upstream"
            );
        }

        if (BuildPulls.IsSecret(http.Request.Headers.Authorization.ToString()))
        {
            throw new OciException(ErrorCodes.Denied, "a build pulls manifests and blobs, and does nothing else");
        }

        if (!Methods.Contains(http.Request.Method))
        {
            throw new OciException(ErrorCodes.MethodUnsupported, $"{http.Request.Method} is not supported here");
        }

        // They would be resolved on the way, and lead out of /v2/.
        if (LeadsOut(Path(http)))
        {
            throw new OciException(
                ErrorCodes.NameInvalid,
                "the path has a component . or .., or a backslash, or is encoded several times over, which no name of a repository is"
            );
        }
    }

    // Whoever is behind may decode a path more than once, and before or after taking it apart.
    private static bool LeadsOut(string path)
    {
        for (var i = 0; i < MaxDecodings; i++)
        {
            var decoded = Uri.UnescapeDataString(path);
            if (decoded == path)
            {
                return path.Contains('\\', StringComparison.Ordinal)
                    || path.Split('/').Any(part => part is "." or "..");
            }

            path = decoded;
        }

        return true;
    }

    private HttpRequestMessage Request(HttpContext http, ReadOnlyMemory<byte>? body, IdleClock clock)
    {
        var request = new HttpRequestMessage(new HttpMethod(http.Request.Method), Address(Target(http)))
        {
            Version = HttpVersion.Version11,
            Content =
                body is { } bytes ? new ReadOnlyMemoryContent(bytes)
                : http.Features.Get<IHttpRequestBodyDetectionFeature>()?.CanHaveBody is true
                    ? new PassedBody(http.Request, clock)
                : http.Request.ContentLength is 0 ? new ByteArrayContent([])
                : null,
        };
        // Who waits to hear whether the body is wanted hears it from the registry behind. Of a long one that is asked in any
        // case: who refuses it may close the connection while it is being sent, and would not be heard.
        var isLong = request.Content is PassedBody && http.Request.ContentLength is null or > MaxUnasked;
        if (request.Content is not null && (isLong || http.Request.Headers.Expect.Count > 0))
        {
            request.Headers.ExpectContinue = true;
        }

        PassedHeaders.ToBehind(http, request, _self);
        return request;
    }

    // As the client wrote it: what it encoded stays so.
    private Uri Address(string target) =>
        new(
            behind.Root.GetLeftPart(UriPartial.Authority) + target,
            new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }
        );

    private static string Target(HttpContext http)
    {
        var target = http.Features.Get<IHttpRequestFeature>()!.RawTarget;
        if (target.StartsWith('/'))
        {
            return target;
        }

        // absolute-form (RFC 9112, 3.2.2)
        var authority = target.IndexOf("://", StringComparison.Ordinal);
        var slash = authority < 0 ? -1 : target.IndexOf('/', authority + "://".Length);
        return slash < 0 ? "/" : target[slash..];
    }

    private static string Path(HttpContext http)
    {
        var target = Target(http);
        var query = target.IndexOf('?', StringComparison.Ordinal);
        return query < 0 ? target : target[..query];
    }

    /// <summary>A client's body on its way.</summary>
    private sealed class PassedBody : HttpContent
    {
        private readonly HttpRequest _request;
        private readonly IdleClock _clock;

        public PassedBody(HttpRequest request, IdleClock clock) => (_request, _clock) = (request, clock);

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override Task SerializeToStreamAsync(
            Stream stream,
            TransportContext? context,
            CancellationToken cancellationToken
        ) => Flow.CopyAsync(_request.Body, stream, BufferBytes, _clock, cancellationToken);

        protected override bool TryComputeLength(out long length)
        {
            length = _request.ContentLength ?? 0;
            return _request.ContentLength is not null;
        }
    }
}

/// <summary>What the registry behind answered, before its body has gone anywhere.</summary>
internal sealed class PassedAnswer(
    HttpContext http,
    HttpResponseMessage response,
    IdleClock clock,
    RegistryBehind behind,
    string origin,
    Action end
) : IDisposable
{
    private const int BufferBytes = 64 << 10;

    public int Status => (int)response.StatusCode;

    /// <summary>Whether it has a header.</summary>
    public bool Has(string header) => response.Headers.NonValidated.Contains(header);

    /// <summary>Sends it to the client.</summary>
    /// <param name="beside">Changes headers.</param>
    /// <exception cref="OciException">The registry behind fell silent before anything was sent.</exception>
    public async Task WriteAsync(Action<IHeaderDictionary>? beside = null)
    {
        http.Response.StatusCode = Status;
        PassedHeaders.ToClient(response, http.Response, behind.Root, origin);
        beside?.Invoke(http.Response.Headers);
        if (HttpMethods.IsHead(http.Request.Method) || Status is 204 or 304)
        {
            return;
        }

        clock.Touch();
        try
        {
            await using var body = await response.Content.ReadAsStreamAsync(clock.Token);
            await Flow.CopyAsync(body, http.Response.Body, BufferBytes, clock, clock.Token);
        }
        catch (Exception e) when (e is HttpRequestException or IOException || clock.IsOver)
        {
            // Too late for an answer: a broken connection is the only honest sign.
            http.Abort();
        }
    }

    public void Dispose()
    {
        response.Dispose();
        clock.Dispose();
        end();
    }
}

/// <summary>Moves bytes.</summary>
internal static class Flow
{
    public static async Task CopyAsync(
        Stream from,
        Stream to,
        int bufferBytes,
        IdleClock clock,
        CancellationToken cancel
    )
    {
        var buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(bufferBytes);
        try
        {
            while (await from.ReadAsync(buffer, cancel) is > 0 and var read)
            {
                clock.Touch();
                await to.WriteAsync(buffer.AsMemory(0, read), cancel);
                clock.Touch();
            }
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
