using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Registry;

/// <summary>What an operator says of what may be pushed and what stays.</summary>
internal static class RegistryRules
{
    /// <exception cref="ServerStartException">The rules make no sense; the message has all that is wrong.</exception>
    public static IServiceCollection AddRegistryRules(this IServiceCollection services, ServerOptions options)
    {
        var faults = new List<string>();
        var immutable = ImmutableTags.Parse(options.Immutability, faults);
        var quotas = Quotas.Parse(options.Quotas, faults);
        return faults.Count == 0
            ? services
                .AddSingleton(immutable)
                .AddSingleton(quotas)
                .AddSingleton<QuotaUses>()
                .AddHostedService<QuotaCount>()
            : throw new ServerStartException(string.Join('\n', faults));
    }
}
