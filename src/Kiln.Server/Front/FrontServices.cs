using Kiln.Server.Access.Guard;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Builds.Publish;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Front;

/// <summary>The parts of a server that stands in front of another registry; none of them where it does not.</summary>
internal static class FrontServices
{
    public static IServiceCollection AddFront(this IServiceCollection services, ServerOptions options)
    {
        if (options.Front.Url is null)
        {
            return services;
        }

        services.AddHttpContextAccessor();
        services.AddSingleton<RegistryBehind>().AddSingleton<PassThrough>().AddSingleton<ReferrersBehind>();
        services.AddSingleton<Verdicts>().AddSingleton<CallerNames>().AddSingleton<CallerRights>();
        services.AddSingleton<IRightsBehind>(provider => provider.GetRequiredService<CallerRights>());
        services.AddSingleton<BuildPulls>();
        services.AddSingleton<RequesterLogin>(provider => provider.GetRequiredService<BuildPulls>().LoginFor);
        services.AddSingleton<RequesterMayPull>(provider => provider.GetRequiredService<BuildPulls>().May);
        services.AddSingleton<ContentBehind>().AddSingleton<PushedRecipes>();
        services.AddSingleton<IRecipesBehind>(provider => provider.GetRequiredService<ContentBehind>());
        services.AddSingleton<Landings>().AddSingleton<ProductCopy>();
        services.AddSingleton<IProductsBehind>(provider => provider.GetRequiredService<Landings>());
        services.AddSingleton<FrontGauges>();
        return services.AddHostedService<LandingWorker>();
    }
}
