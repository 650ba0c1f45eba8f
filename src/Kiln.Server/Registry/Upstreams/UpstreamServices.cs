using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>The parts of the pull-through cache.</summary>
internal static class UpstreamServices
{
    public static IServiceCollection AddUpstreams(this IServiceCollection services) =>
        services
            .AddSingleton<UpstreamTable>()
            .AddSingleton<CacheBook>()
            .AddSingleton<CachedManifests>()
            .AddSingleton<CachedBlobs>()
            .AddSingleton<CachedLists>();
}
