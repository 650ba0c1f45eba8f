using Kiln.Client;
using Kiln.Client.Credentials;
using Kiln.Client.Registry;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>One address of an upstream.</summary>
internal sealed partial class UpstreamEndpoint : IDisposable
{
    /// <summary>For how long an address that has no answer is left alone, where it does not say itself.</summary>
    public static readonly TimeSpan ShortRest = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan BusyRest = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LongestRest = TimeSpan.FromMinutes(5);

    private readonly TimeProvider _time;
    private readonly string _host;
    private readonly string _path;
    private volatile Pause? _pause;

    /// <param name="options">The upstream.</param>
    /// <param name="url">Where it answers; null is at its name.</param>
    /// <param name="time">For how long it is left alone.</param>
    /// <param name="log">Is told what is not for clients.</param>
    /// <param name="change">What is otherwise for this one.</param>
    public UpstreamEndpoint(
        UpstreamOptions options,
        Uri? url,
        TimeProvider time,
        ILogger log,
        Func<RegistryClientOptions, RegistryClientOptions>? change = null
    )
    {
        _time = time;
        _host = options.Host;
        _path = url?.AbsolutePath.Trim('/') ?? "";
        var client = new RegistryClientOptions
        {
            Addresses = url is null
                ? new Dictionary<string, Uri>()
                : new Dictionary<string, Uri>(StringComparer.OrdinalIgnoreCase)
                {
                    [options.Host] = new Uri(url.GetLeftPart(UriPartial.Authority) + "/"),
                },
            Credentials = new FileLogin(options, log),
            Time = time,
            // Somebody waits: whoever wants it again asks again, and what is here already is served meanwhile.
            Attempts = 1,
            ConnectTimeout = TimeSpan.FromSeconds(5),
            IdleTimeout = TimeSpan.FromSeconds(30),
        };
        Client = new RegistryClient(change?.Invoke(client) ?? client);
    }

    public RegistryClient Client { get; }

    /// <summary>A repository of the upstream, as it is to be asked for at this address.</summary>
    /// <exception cref="RegistryException">The name is too long there, so that nothing can have it.</exception>
    public RemoteRepository Named(RepositoryName remote) =>
        _path.Length == 0 ? new(_host, remote)
        : RepositoryName.TryParse($"{_path}/{remote}", out var name) ? new(_host, name)
        : throw new RegistryException(
            RegistryFault.NotFound,
            $"looking for {remote} at {_host}",
            $"its name is too long below {_path}/"
        );

    /// <summary>Why the address is left alone now; null where it is not.</summary>
    public RegistryException? Resting()
    {
        if (_pause is not { } pause)
        {
            return null;
        }

        var left = pause.Until - _time.GetUtcNow();
        if (left <= TimeSpan.Zero)
        {
            return null;
        }

        return new RegistryException(pause.Why.Fault, pause.Why.Action, pause.Why.Why, pause.Why)
        {
            Host = pause.Why.Host,
            Status = pause.Why.Status,
            Code = pause.Why.Code,
            RetryAfter = left,
        };
    }

    /// <summary>Leaves the address alone for as long as it asked for, or for a moment.</summary>
    public void Rest(RegistryException why)
    {
        var rest = why.RetryAfter ?? (why.Status == 429 ? BusyRest : ShortRest);
        _pause = new Pause(_time.GetUtcNow() + (rest < LongestRest ? rest : LongestRest), why);
    }

    public void Dispose() => Client.Dispose();

    private sealed record Pause(DateTimeOffset Until, RegistryException Why);

    /// <summary>The upstream's own login, for nobody else.</summary>
    private sealed class FileLogin(UpstreamOptions options, ILogger log) : ICredentialSource
    {
        public Login? Find(string host, RepositoryName? repository)
        {
            if (!host.Equals(options.Host, StringComparison.OrdinalIgnoreCase))
            {
                return null;
            }

            return options.TokenFile is { } token ? new Login("", "") { BearerToken = FirstLine(token) }
                : options is { User: { } user, PasswordFile: { } password } ? new Login(user, FirstLine(password))
                : null;
        }

        // The message must not hold what the file does, nor where it is: clients see it.
        private string FirstLine(string file)
        {
            try
            {
                using var lines = File.OpenText(file);
                return lines.ReadLine()?.Trim() is { Length: > 0 } line ? line : throw Unreadable($"{file} is empty");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw Unreadable(e.Message);
            }
        }

        private RegistryException Unreadable(string why)
        {
            LogUnreadable(log, options.Host, why);
            return new(
                RegistryFault.NotAllowed,
                $"logging in to {options.Host}",
                "this registry cannot read its credentials; its log says why"
            );
        }
    }

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "the file with the credentials for the upstream {Host} cannot be read: {Why}"
    )]
    private static partial void LogUnreadable(ILogger log, string host, string why);
}
