using System.Net.Sockets;
using System.Text;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Registry.Upstreams;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Front;

/// <summary>
/// The registry behind: where clients' requests are passed on to as they are, and where this server itself reads recipes
/// and pushes images with a login of its own.
/// </summary>
internal sealed partial class RegistryBehind : IDisposable
{
    /// <summary>After how long somebody whom it has no answer for should ask again.</summary>
    public static readonly TimeSpan Pause = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan ConnectTime = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ProbeTime = TimeSpan.FromSeconds(4);
    private const int MaxHeadersKiB = 64;

    private readonly UpstreamEndpoint _own;
    private readonly UpstreamEndpoint _nobody;
    private readonly HttpMessageInvoker _wire;
    private readonly ILogger<RegistryBehind> _log;
    private volatile string? _fault;

    /// <exception cref="ServerStartException">It cannot be stood in front of as it is configured.</exception>
    public RegistryBehind(ServerOptions options, TimeProvider time, ILogger<RegistryBehind> log)
    {
        Root =
            FrontRules.Check(options) ?? throw new InvalidOperationException("there is no registry behind this server");
        _log = log;
        var login = new UpstreamOptions
        {
            Host = Host,
            User = options.Front.User,
            PasswordFile = options.Front.PasswordFile,
            TokenFile = options.Front.TokenFile,
        };
        RegistryClientOptions Change(RegistryClientOptions client) =>
            client with
            {
                StaysAtAddress = true,
                // A large layer takes it time after its last byte.
                IdleTimeout = options.Front.IdleTime,
            };
        _own = new UpstreamEndpoint(login, Root, time, log, Change);
        _nobody = new UpstreamEndpoint(new UpstreamOptions { Host = Host }, Root, time, log, Change);
        _wire = new HttpMessageInvoker(
            new SocketsHttpHandler
            {
                AllowAutoRedirect = false,
                UseCookies = false,
                // What listens on this machine's loopback is not behind any proxy.
                UseProxy = !Root.IsLoopback,
                ConnectTimeout = ConnectTime,
                // Names are looked up again now and then.
                PooledConnectionLifetime = TimeSpan.FromMinutes(2),
                MaxResponseHeadersLength = MaxHeadersKiB,
                ActivityHeadersPropagator = null,
                // Whatever a client writes, its registry reads.
                RequestHeaderEncodingSelector = (_, _) => Encoding.UTF8,
                ResponseHeaderEncodingSelector = (_, _) => Encoding.Latin1,
            }
        );
    }

    /// <summary>Its address.</summary>
    public Uri Root { get; }

    /// <summary>As <c>host[:port]</c>.</summary>
    public string Host => Root.Authority;

    /// <summary>Speaks to it as this server itself.</summary>
    public RegistryClient Client => _own.Client;

    /// <summary>Speaks to it as nobody: what it gives then, everybody may have.</summary>
    public RegistryClient Nobody => _nobody.Client;

    /// <summary>Why the last request had no answer; null where it had one.</summary>
    public string? Fault => _fault;

    /// <summary>Where a repository is there: it has the same name.</summary>
    public RemoteRepository Named(RepositoryName repository) => new(Host, repository);

    /// <summary>Passes a request on; the answer comes without its body.</summary>
    /// <exception cref="OciException">It has none: 502, 503 or 504.</exception>
    public async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, IdleClock clock)
    {
        try
        {
            var response = await _wire.SendAsync(request, clock.Token);
            clock.Touch();
            Note(null);
            return response;
        }
        catch (OperationCanceledException) when (clock.IsOver)
        {
            throw Silent();
        }
        catch (OperationCanceledException e)
            when (e.InnerException is TimeoutException && !clock.Token.IsCancellationRequested)
        {
            // So the handler says that nobody took a connection in time.
            throw Unreached($"no connection within {ConnectTime.TotalSeconds:0} s");
        }
        catch (HttpRequestException e) when (e.InnerException is BadHttpRequestException or OperationCanceledException)
        {
            // The client's own body, which broke off or came too slowly.
            throw e.InnerException;
        }
        catch (HttpRequestException e)
        {
            throw Unanswered(e);
        }
    }

    /// <summary>What is said when nothing moves any more.</summary>
    public OciException Silent() =>
        Outage(
            ErrorCodes.UpstreamSilent,
            "it said nothing for too long; try again, and ask its operators if that stays"
        );

    /// <summary>Whether it answers at all; for probes.</summary>
    /// <exception cref="Exception">It does not; the message says why.</exception>
    public async Task PingAsync()
    {
        using var clock = new IdleClock(ProbeTime, TimeProvider.System, CancellationToken.None);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(Root, "/v2/"));
        using var response = await SendAsync(request, clock);
        if ((int)response.StatusCode >= StatusCodes.Status500InternalServerError)
        {
            throw new IOException($"{Host} answers {(int)response.StatusCode}");
        }
    }

    /// <summary>Whether it takes this server's own login, as far as it says so before anything is pushed.</summary>
    /// <exception cref="RegistryException">It does not, or has no answer.</exception>
    public Task LoginAsync(CancellationToken cancel) => Client.PingAsync(Host, cancel);

    public void Dispose()
    {
        _wire.Dispose();
        _own.Dispose();
        _nobody.Dispose();
    }

    private OciException Unanswered(HttpRequestException e)
    {
        Exception cause = e;
        while (cause.InnerException is { } inner)
        {
            cause = inner;
        }

        return e.HttpRequestError switch
        {
            HttpRequestError.SecureConnectionError => Outage(
                ErrorCodes.UpstreamBroken,
                $"it offers no TLS that can be trusted ({cause.Message}); its operators or those of this registry have to mend that"
            ),
            HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError => Unreached(cause.Message),
            _ when cause is SocketException => Outage(
                ErrorCodes.UpstreamBroken,
                $"the connection to it broke ({cause.Message}); look what of the request was done, and try again"
            ),
            _ => Outage(
                ErrorCodes.UpstreamBroken,
                $"it did not answer as a registry does ({cause.Message}); look what of the request was done, and try again"
            ),
        };
    }

    private OciException Unreached(string why) =>
        Outage(ErrorCodes.Unavailable, $"it cannot be reached ({why}); nothing was done, try again");

    private OciException Outage(ErrorCode code, string why)
    {
        Note(why);
        return new OciException(
            new OciError(code, $"{Host}, the registry behind this one, has no answer: {why}") { RetryAfter = Pause }
        );
    }

    private void Note(string? fault)
    {
        var before = Interlocked.Exchange(ref _fault, fault);
        if (fault is not null && before is null)
        {
            LogAway(_log, Host, fault);
        }
        else if (fault is null && before is not null)
        {
            LogBack(_log, Host);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Host}, the registry behind, has no answer: {Why}")]
    private static partial void LogAway(ILogger log, string host, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Host}, the registry behind, answers again")]
    private static partial void LogBack(ILogger log, string host);
}
