using System.Net;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Delivery;

/// <summary>What others are told of what happens here.</summary>
internal static class DeliveryServices
{
    public static IServiceCollection AddDelivery(this IServiceCollection services, EventOptions options)
    {
        services.AddSingleton(options).AddSingleton<Outbox>().AddSingleton<OutboxTrim>().AddSingleton<OutboxView>();
        services.AddSingleton<NameLookup>(_ => (host, cancel) => Dns.GetHostAddressesAsync(host, cancel));
        services.AddSingleton<AddressRules>().AddSingleton<HookAddresses>().AddSingleton<Sender>();
        services.AddSingleton<Webhooks>().AddHostedService(provider => provider.GetRequiredService<Webhooks>());
        services.AddSingleton<IDeliveryTargets>(provider => provider.GetRequiredService<Webhooks>());
        return services.AddHostedService<Deliveries>();
    }
}
