using Kiln.Node;
using Kiln.Server.Builds.Hooks;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Builds.Rebuilds;
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Delivery;
using Kiln.Server.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Builds;

/// <summary>The parts of the build service, in the order in which a build goes through them.</summary>
internal static class BuildService
{
    public static IServiceCollection AddBuilds(this IServiceCollection services, BuildOptions options)
    {
        // Now: a key that cannot be used keeps the server from starting.
        var signing = SigningKey.Of(options);
        services.AddSingleton(_ => signing);
        services.AddSingleton(_ => Status(options));
        services.AddSingleton<RecipeReader>().AddSingleton<InlineRecipes>().AddSingleton<ContextTrees>();
        services.AddSingleton<AwaitedTags>().AddSingleton<JobKeys>();
        services.AddSingleton<BuildOffers>().AddSingleton<JobIntake>().AddSingleton<IPushTrigger, PushIntake>();
        services.AddSingleton<Executions>().AddSingleton<Subscriptions>().AddSingleton<Enlistment>();
        services.AddSingleton<Placement>().AddSingleton<Derivations>();
        services.AddSingleton<BaseNames>().AddSingleton<BaseRights>().AddSingleton<BasePlaces>();
        services.AddSingleton<ProductBases>().AddSingleton<Rebuilder>();
        services.AddSingleton<Claims>().AddSingleton<Cancellation>();
        services.AddSingleton<LeaseStaging>().AddSingleton<LeaseDesk>().AddSingleton<LeaseResults>();
        services.AddSingleton<LeaseLog>().AddSingleton<Attempts>().AddSingleton<Builders>();
        services.AddSingleton<IBuildCoordinator, LocalCoordinator>();
        services.AddSingleton<LayerFactsStore>().AddSingleton<ProductCheck>().AddSingleton<PushedHints>();
        services
            .AddSingleton<Promotion>()
            .AddSingleton<Statements>()
            .AddSingleton<EvidenceMaker>()
            .AddSingleton<Settlement>();
        services.AddSingleton<Wakeups>().AddSingleton<BuildLog>().AddSingleton<JobLog>().AddSingleton<JobReader>();
        services.AddSingleton<SecretVault>().AddSingleton<JobEvents>().AddSingleton<HookRegister>();
        services.AddSingleton<IDeliveryTargets, HookTargets>();
        // Before any node: the sweep puts right what the last run left before it lets others start.
        services.AddSingleton<LeaseSweep>().AddHostedService(provider => provider.GetRequiredService<LeaseSweep>());
        services.AddHostedService(provider => provider.GetRequiredService<LayerFactsStore>());
        services.AddHostedService<BaseWatch>();
        return options.LocalNode ? services.AddHostedService<LocalNode>() : services;
    }

    private static NodeStatus Status(BuildOptions options)
    {
        var status = new NodeStatus();
        if (!options.LocalNode)
        {
            status.Abilities = NodeAbilities.None(
                "this server builds nothing itself (--no-builds), and no build node has asked for work yet"
            );
        }

        return status;
    }
}
