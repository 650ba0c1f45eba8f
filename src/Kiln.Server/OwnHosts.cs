using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace Kiln.Server;

/// <summary>By which names this server is certainly called: a token for it must not go to anybody else.</summary>
internal sealed class OwnHosts(IServer server, ServerOptions options)
{
    /// <summary>As <c>host[:port]</c>, the best one to reach it by first. Only once the server listens.</summary>
    public IReadOnlyList<string> All
    {
        get
        {
            var hosts = new List<string>();
            if (options.Access.PublicUrl is { } own)
            {
                hosts.Add(new Uri(own).Authority);
            }

            foreach (var address in server.Features.Get<IServerAddressesFeature>()?.Addresses ?? [])
            {
                var uri = new Uri(address);
                hosts.AddRange(
                    uri.Host is "0.0.0.0" or "[::]" || uri.IsLoopback
                        ? [$"127.0.0.1:{uri.Port}", $"localhost:{uri.Port}", $"[::1]:{uri.Port}"]
                        : [uri.Authority]
                );
            }

            return hosts;
        }
    }

    /// <summary>
    /// How the registry is called in what it states: its public address, else the first at which it listens. Scheme and
    /// host, without a slash at the end. Only once the server listens.
    /// </summary>
    public string Url =>
        options.Access.PublicUrl?.TrimEnd('/')
        ?? (
            server.Features.Get<IServerAddressesFeature>()?.Addresses.FirstOrDefault() is { } first
                ? $"{new Uri(first).Scheme}://{All[0]}"
                : $"http://{All[0]}"
        );
}
