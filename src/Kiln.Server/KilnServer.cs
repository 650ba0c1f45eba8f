using System.Net.Sockets;
using Kiln.Server.Access;
using Kiln.Server.Access.Connections;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Kiln.Server.Builds;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Rebuilds;
using Kiln.Server.Collection;
using Kiln.Server.Delivery;
using Kiln.Server.Front;
using Kiln.Server.Http;
using Kiln.Server.Journal;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Postgres;
using Kiln.Server.Metadata.Sqlite;
using Kiln.Server.Operation;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;
using Kiln.Server.Storage;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server;

/// <summary>The daemon: from options to a listening registry that builds.</summary>
public static partial class KilnServer
{
    /// <summary>Puts the server together; start it with <c>StartAsync</c> or <c>RunAsync</c>.</summary>
    /// <param name="options">What the server was told.</param>
    /// <param name="configure">Replaces services in tests (time).</param>
    /// <exception cref="ServerStartException">The options or the data directory cannot be used.</exception>
    public static WebApplication Create(ServerOptions options, Action<IServiceCollection>? configure = null)
    {
        var mode = ListenAddresses.Check(options);
        FrontRules.Check(options);
        options = FrontRules.Apply(options);
        // Empty: what the others add reads settings from the environment and from files of the current directory, and
        // watches everything below that.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { Args = [] });
        builder.WebHost.UseKestrelCore();
        builder.Logging.Format(options.Operation.LogFormat);
        builder.Logging.SetMinimumLevel(LogLevel.Warning).AddFilter("Kiln", LogLevel.Information);
        // A start that fails is told once, in a sentence (RunAsync); a background service that dies stays critical.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.Critical);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            // Blobs are large; every endpoint has a limit of its own.
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = new(options.MinBytesPerSecond, options.SlowClientGrace);
            RequestLimits.Apply(kestrel.Limits);
            Listening.Configure(kestrel, options);
            Management.Listen(kestrel, options.Operation);
        });

        builder.Services.AddSingleton<IMemoryPoolFactory<byte>, ConnectionBlocks>();
        AddServices(builder.Services, options);
        builder.Services.AddAccess(options, mode).AddOperation(options.Operation);
        builder.Services.AddSingleton<OwnHosts>();
        AddPolicies(builder.Services, options, mode);
        builder.Services.AddFront(options);
        if (options.Front.Url is not null)
        {
            builder.Services.AddSingleton(provider => new ReadyQuestion(
                "registry behind",
                provider.GetRequiredService<RegistryBehind>().PingAsync
            ));
        }

        builder.Services.AddSingleton<LeaseCredentials>(provider =>
            secret =>
                provider.GetRequiredService<LeaseDesk>().StandingOf(secret) is { } lease
                    ? new LeaseHolder(
                        lease.Id,
                        lease.Execution,
                        lease.Job,
                        lease.Repository,
                        lease.Requester,
                        lease.StagingTag,
                        lease.Expires
                    )
                    : null
        );
        configure?.Invoke(builder.Services);
        var app = builder.Build();
        app.Lifetime.ApplicationStopping.Register(() => app.Services.GetRequiredService<Wakeups>().Stop());
        Pipeline(app, options, mode);
        return app;
    }

    // What the build service asks those who know who may do what.
    private static void AddPolicies(IServiceCollection services, ServerOptions options, AccessMode mode)
    {
        if (mode != AccessMode.Behind)
        {
            services.AddSingleton<RequesterLogin>(provider => provider.GetRequiredService<Requesters>().LoginFor);
            services.AddSingleton<RequesterMayPull>(provider => provider.GetRequiredService<Requesters>().MayPull);
        }

        services.AddSingleton<TriggerPolicy>(provider =>
        {
            var policies = provider.GetRequiredService<PolicyStore>();
            var standard = options.Build.Trigger ?? (mode == AccessMode.OwnUser ? PushTriggers.On : PushTriggers.OptIn);
            return repository =>
                (mode == AccessMode.Policy ? policies.Current.Policy.TriggerIn(repository) : null) ?? standard;
        });
        services.AddSingleton<RebuildPolicy>(provider =>
        {
            var policies = provider.GetRequiredService<PolicyStore>();
            return repository =>
                (
                    (mode == AccessMode.Policy ? policies.Current.Policy.RebuildIn(repository) : null)
                    ?? options.Build.Rebuild
                ) == RebuildTriggers.OnBaseChange;
        });
        services.AddSingleton<RequesterMayBuild>(provider => provider.GetRequiredService<Requesters>().MayBuild);
    }

    /// <summary>Runs the server until <paramref name="cancel"/>, SIGTERM or SIGINT.</summary>
    /// <exception cref="ServerStartException">It cannot start; the message says why.</exception>
    public static async Task RunAsync(ServerOptions options, CancellationToken cancel)
    {
        await using var app = Create(options, services => services.AddProcess());
        try
        {
            await app.StartAsync(cancel);
        }
        catch (Exception e) when (WhyNotListening(e) is not null)
        {
            // Background services run already; they end before what they use does.
            await app.StopAsync(CancellationToken.None);
            throw new ServerStartException($"cannot listen on {options.Urls}: {WhyNotListening(e)}", e);
        }

        var log = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(KilnServer));
        LogListening(log, string.Join(' ', app.Urls), Path.GetFullPath(options.DataDirectory));
        if (ConnectionLimit.Of(options) is var connections && connections < options.MaxConnections)
        {
            LogFewConnections(log, connections, options.MaxConnections);
        }

        await app.WaitForShutdownAsync(cancel);
    }

    private static string? WhyNotListening(Exception exception) =>
        exception switch
        {
            IOException { InnerException: AddressInUseException } =>
                "another process does already; choose another port with --urls",
            SocketException e => e.Message,
            _ => null,
        };

    private static void AddServices(IServiceCollection services, ServerOptions options)
    {
        services.AddSingleton(options).AddSingleton(options.Build);
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton(OpenDatabase);
        services.AddSingleton(provider => new ServerId(provider.GetRequiredService<DataDirectory>().ServerId()));
        // First of all that runs: who comes after goes by which servers are alive.
        services.AddSingleton<ServerPresence>().AddHostedService(p => p.GetRequiredService<ServerPresence>());
        services.AddSingleton<ServerKeys>().AddHostedService<SharedKeys>();
        services.AddStorage(options.Storage).AddJournal(options.Storage);
        services.AddHostedService<DurabilityMark>();
        services
            .AddSingleton<TransferBuffers>()
            .AddSingleton<Repositories>()
            .AddSingleton<Blobs>()
            .AddSingleton<CondemnedBlobs>()
            .AddSingleton<Uploads>();
        services.AddSingleton<Manifests>().AddSingleton<Tags>().AddSingleton<Referrers>();
        services.AddUpstreams();
        services.AddHostedService<UploadExpiry>();
        services.AddDelivery(options.Events);
        services.AddRegistryRules(options);
        services.AddBuilds(options.Build);
        services.AddCollection(options);
        // After all that may prove wrong, and by a factory, so that its lock ends with the server.
        var directory = new DataDirectory(options.DataDirectory, options.Durability);
        services.AddSingleton(_ => directory);
        services.AddSingleton<DiscoveryEndpoints>();
        services.AddSingleton<ManifestBodies>();
        services.AddSingleton<BlobEndpoints>().AddSingleton<UploadEndpoints>().AddSingleton<ManifestEndpoints>();
        services.AddSingleton<TagEndpoints>().AddSingleton<ReferrerEndpoints>().AddSingleton<CatalogEndpoints>();
        services.AddSingleton<InfoEndpoints>().AddSingleton<JobEndpoints>().AddSingleton<SecretEndpoints>();
        services.AddSingleton<HookEndpoints>().AddSingleton<HintsEndpoints>();
        services.AddSingleton<LogEvents>().AddSingleton<LogEndpoints>();
        services.AddSingleton<LeaseEndpoints>().AddSingleton<LeasedContent>().AddSingleton<WaitingPulls>();
        services.AddSingleton<FrontEndpoints>().AddSingleton<FrontDiscovery>().AddSingleton<FrontBuildPulls>();
        services.AddSingleton<RequestAudit>();
        foreach (var root in new[] { V2Router.Root, AdminEndpoints.Root })
        {
            services.AddKeyedSingleton(root, (provider, _) => Router(provider, root));
        }

        services.AddSingleton<TokenEndpoint>().AddSingleton<AdminEndpoints>();
        services.AddSingleton<CollectionEndpoints>().AddSingleton<QuotaEndpoints>().AddSingleton<DeliveryEndpoints>();
    }

    internal static Database OpenDatabase(IServiceProvider services)
    {
        var options = services.GetRequiredService<ServerOptions>();
        return options.Database is { } address
            ? new PostgresDatabase(
                PostgresAddress.Parse(address, options.DatabasePasswordFile, options.Durability),
                services.GetRequiredService<ILogger<PostgresDatabase>>()
            )
            : new SqliteDatabase(services.GetRequiredService<DataDirectory>().DatabaseFile, options.Durability);
    }

    private static void Pipeline(WebApplication app, ServerOptions options, AccessMode mode)
    {
        var services = app.Services;
        var router = services.GetRequiredKeyedService<V2Router>(V2Router.Root);
        var admin = services.GetRequiredKeyedService<V2Router>(AdminEndpoints.Root);
        services.GetRequiredService<AdminEndpoints>().Map(admin);
        services.GetRequiredService<CollectionEndpoints>().Map(admin);
        services.GetRequiredService<QuotaEndpoints>().Map(admin);
        services.GetRequiredService<DeliveryEndpoints>().Map(admin);
        MapContent(services, router, options);
        services.GetRequiredService<InfoEndpoints>().Map(router);
        services.GetRequiredService<JobEndpoints>().Map(router);
        services.GetRequiredService<LogEndpoints>().Map(router);
        services.GetRequiredService<SecretEndpoints>().Map(router);

        app.UseMiddleware<RequestWatch>();
        app.UseManagement(options.Operation);
        app.UseMiddleware<OciErrorMiddleware>();
        if (options.Access.TrustedProxies.Count > 0)
        {
            var proxies = Proxies.Options(options.Access.TrustedProxies);
            app.Use(Proxies.WarnOfForwarded(proxies, app.Services.GetRequiredService<ILoggerFactory>()));
            app.UseForwardedHeaders(proxies);
        }

        if (
            mode is AccessMode.OwnUser or AccessMode.Everybody
            && ListenAddresses.Parse(options.Urls).All(a => a.IsLoopback)
        )
        {
            app.Use(ListenAddresses.CheckHostAsync);
        }

        if (mode == AccessMode.OwnUser)
        {
            app.Use(
                (http, next) =>
                {
                    LoopbackPeer.Require(http);
                    return next(http);
                }
            );
        }

        var tokens = services.GetRequiredService<TokenEndpoint>();
        app.Run(http =>
            router.IsUnder(http) ? router.RouteAsync(http)
            : mode != AccessMode.Behind && http.Request.Path == TokenEndpoint.Path ? tokens.AnswerAsync(http)
            : admin.IsUnder(http) ? admin.RouteAsync(http)
            : NotFound(http)
        );
    }

    // What is not of builds: this registry's own, or another one's.
    private static void MapContent(IServiceProvider services, V2Router router, ServerOptions options)
    {
        if (options.Front.Url is not null)
        {
            services.GetRequiredService<FrontDiscovery>().Map(router);
            services.GetRequiredService<FrontEndpoints>().Map(router);
            return;
        }

        services.GetRequiredService<DiscoveryEndpoints>().Map(router);
        services.GetRequiredService<CatalogEndpoints>().Map(router);
        services.GetRequiredService<UploadEndpoints>().Map(router);
        services.GetRequiredService<BlobEndpoints>().Map(router);
        services.GetRequiredService<ManifestEndpoints>().Map(router);
        services.GetRequiredService<TagEndpoints>().Map(router);
        services.GetRequiredService<ReferrerEndpoints>().Map(router);
        services.GetRequiredService<HookEndpoints>().Map(router);
        services.GetRequiredService<HintsEndpoints>().Map(router);
        services.GetRequiredService<LeaseEndpoints>().Map(router);
    }

    private static V2Router Router(IServiceProvider services, string root) =>
        new(
            services.GetRequiredService<Gate>(),
            services.GetRequiredService<RequestAudit>(),
            services.GetRequiredService<UpstreamTable>(),
            root
        );

    private static Task NotFound(HttpContext http)
    {
        http.Response.StatusCode = StatusCodes.Status404NotFound;
        return http.Response.WriteAsync("This is a Kiln registry; its API is under /v2/.\n");
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "listening on {Urls}, keeping data in {Directory}")]
    private static partial void LogListening(ILogger log, string urls, string directory);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "only {Connections} connections are taken at a time, not {Wanted}, since this process may open few files (ulimit -n)"
    )]
    private static partial void LogFewConnections(ILogger log, int connections, int wanted);
}
