using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Collection;

/// <summary>The parts of garbage collection.</summary>
internal static class CollectionServices
{
    /// <exception cref="ServerStartException">The rules of retention make no sense; the message has all that is wrong.</exception>
    public static IServiceCollection AddCollection(this IServiceCollection services, ServerOptions options)
    {
        var faults = new List<string>();
        var rules = RetentionRules.Parse(options.Retention, faults);
        if (faults.Count > 0)
        {
            throw new ServerStartException(string.Join('\n', faults));
        }

        return services
            .AddSingleton(rules)
            .AddSingleton<TagSweep>()
            .AddSingleton<ManifestSweep>()
            .AddSingleton<BlobSweep>()
            .AddSingleton<BuildSweep>()
            .AddSingleton<RepositorySweep>()
            .AddSingleton<UploadSweep>()
            .AddSingleton<Collector>()
            .AddHostedService<CollectionSchedule>();
    }
}
