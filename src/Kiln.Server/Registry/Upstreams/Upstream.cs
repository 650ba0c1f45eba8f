using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Configuration;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>One upstream registry: its names there and here, and how it is asked.</summary>
internal sealed class Upstream : IDisposable
{
    private readonly List<UpstreamEndpoint> _endpoints;
    private readonly IReadOnlyList<RepositoryPattern> _allow;
    private readonly IReadOnlyList<RepositoryPattern> _deny;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _end = new();

    public Upstream(
        UpstreamOptions options,
        RepositoryName prefix,
        IReadOnlyList<RepositoryPattern> allow,
        IReadOnlyList<RepositoryPattern> deny,
        TimeProvider time,
        ILogger log
    )
    {
        (Options, Prefix, _allow, _deny, _time) = (options, prefix, allow, deny, time);
        var urls = options.Urls.Count == 0 ? new Uri?[] { null } : [.. options.Urls];
        _endpoints = [.. urls.Select(url => new UpstreamEndpoint(options, url, time, log))];
        Fetches = new SemaphoreSlim(options.MaxFetches, options.MaxFetches);
    }

    public UpstreamOptions Options { get; }

    /// <summary>The registry as references name it.</summary>
    public string Host => Options.Host;

    /// <summary>What its repositories' names begin with here.</summary>
    public RepositoryName Prefix { get; }

    /// <summary>Taken by each fetch of a blob for as long as it lasts.</summary>
    public SemaphoreSlim Fetches { get; }

    /// <summary>Whether a repository of this registry mirrors one of the upstream.</summary>
    public bool Covers(RepositoryName local) =>
        local.Value.Length > Prefix.Value.Length + 1
        && local.Value[Prefix.Value.Length] == '/'
        && local.Value.StartsWith(Prefix.Value, StringComparison.Ordinal);

    /// <summary>What a repository of the upstream is called here; null where that would be too long.</summary>
    public RepositoryName? LocalName(RepositoryName remote) =>
        RepositoryName.TryParse($"{Prefix}/{remote}", out var local) ? local : null;

    /// <summary>What a repository that <see cref="Covers"/> holds for is called there.</summary>
    public RepositoryName RemoteName(RepositoryName local) =>
        RepositoryName.Parse(local.Value[(Prefix.Value.Length + 1)..]);

    /// <exception cref="OciException"><c>DENIED</c>, 403: this repository is not to be pulled through.</exception>
    public void RequireAllowed(RepositoryName local)
    {
        var remote = RemoteName(local).Value;
        if ((_allow.Count > 0 && !_allow.Any(p => p.Matches(remote, null))) || _deny.Any(p => p.Matches(remote, null)))
        {
            throw new OciException(
                ErrorCodes.Denied,
                $"this registry is configured not to pull {remote} from {Host}; its operator can allow it"
            );
        }
    }

    /// <summary>
    /// Asks the upstream, at its addresses in order, until one has an answer. An address that fails is left alone for a
    /// while, so that neither it nor those who wait suffer from every request.
    /// </summary>
    /// <param name="ask">Has <see cref="UpstreamOptions.AnswerTime"/> at each address, and ends with the server.</param>
    /// <param name="cancel">Ends it too.</param>
    /// <exception cref="RegistryException">It has no answer, or says no.</exception>
    public async Task<T> AskAsync<T>(
        RepositoryName local,
        Func<RegistryClient, RemoteRepository, CancellationToken, Task<T>> ask,
        CancellationToken cancel = default
    )
    {
        RegistryException? failed = null;
        RegistryException? refused = null;
        foreach (var endpoint in _endpoints)
        {
            if (endpoint.Resting() is { } before)
            {
                failed ??= before;
                continue;
            }

            try
            {
                return await AskOneAsync(endpoint.Client, endpoint.Named(RemoteName(local)), ask, cancel);
            }
            catch (RegistryException e) when (IsOutage(e))
            {
                endpoint.Rest(e);
                failed = e;
            }
            catch (RegistryException e) when (e.Fault is RegistryFault.NotFound or RegistryFault.NotAllowed)
            {
                // One address may know less than another.
                refused = e;
            }
        }

        throw failed ?? refused!;
    }

    private async Task<T> AskOneAsync<T>(
        RegistryClient client,
        RemoteRepository there,
        Func<RegistryClient, RemoteRepository, CancellationToken, Task<T>> ask,
        CancellationToken cancel
    )
    {
        using var late = new CancellationTokenSource(Options.AnswerTime, _time);
        using var any = CancellationTokenSource.CreateLinkedTokenSource(late.Token, _end.Token, cancel);
        try
        {
            return await ask(client, there, any.Token);
        }
        catch (OperationCanceledException e)
            when (late.IsCancellationRequested && !cancel.IsCancellationRequested && !_end.IsCancellationRequested)
        {
            throw new RegistryException(
                RegistryFault.Unavailable,
                $"asking for {there}",
                $"its answer did not come whole within {Options.AnswerTime.TotalSeconds:0} s",
                e
            );
        }
    }

    /// <summary>Whether an upstream has no answer now, where another time it may.</summary>
    public static bool IsOutage(RegistryException e) =>
        e.Fault is RegistryFault.Unreachable or RegistryFault.Unavailable;

    public void Dispose()
    {
        _end.Cancel();
        _end.Dispose();
        _endpoints.ForEach(endpoint => endpoint.Dispose());
        Fetches.Dispose();
    }
}
