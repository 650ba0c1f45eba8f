using Kiln.Server.Http;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server;

/// <summary>The daemon: from options to a listening registry that builds.</summary>
public static class KilnServer
{
    /// <summary>Puts the server together; start it with <c>StartAsync</c> or <c>RunAsync</c>.</summary>
    /// <param name="options">What the server was told.</param>
    /// <param name="configure">Replaces services in tests (time).</param>
    public static WebApplication Create(ServerOptions options, Action<IServiceCollection>? configure = null)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { Args = [] });
        builder.Logging.ClearProviders().AddSimpleConsole(console => console.SingleLine = true);
        builder.Logging.SetMinimumLevel(LogLevel.Warning).AddFilter("Kiln", LogLevel.Information);
        builder.WebHost.UseUrls(options.Urls);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            // Blobs are large; every endpoint has a limit of its own.
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = null;
        });

        AddServices(builder.Services, options);
        configure?.Invoke(builder.Services);
        var app = builder.Build();
        Pipeline(app);
        return app;
    }

    /// <summary>Runs the server until <paramref name="cancel"/>, SIGTERM or SIGINT.</summary>
    public static async Task RunAsync(ServerOptions options, CancellationToken cancel)
    {
        await using var app = Create(options);
        await app.StartAsync(cancel);
        await app.WaitForShutdownAsync(cancel);
    }

    private static void AddServices(IServiceCollection services, ServerOptions options)
    {
        var directory = new DataDirectory(options.DataDirectory);
        services.AddSingleton(options).AddSingleton(options.Build).AddSingleton(directory);
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton(_ => Database.Open(directory.DatabaseFile));
        services.AddSingleton<TagJournal>();
        services.AddSingleton<Repositories>().AddSingleton<Blobs>().AddSingleton<Manifests>().AddSingleton<Tags>();
        services.AddSingleton<DiscoveryEndpoints>();
    }

    private static void Pipeline(WebApplication app)
    {
        var router = new V2Router();
        app.Services.GetRequiredService<DiscoveryEndpoints>().Map(router);

        app.UseMiddleware<OciErrorMiddleware>();
        app.Run(http =>
            http.Request.Path.StartsWithSegments("/v2", StringComparison.Ordinal)
                ? router.RouteAsync(http)
                : NotFound(http)
        );
    }

    private static Task NotFound(HttpContext http)
    {
        http.Response.StatusCode = StatusCodes.Status404NotFound;
        return http.Response.WriteAsync("This is a Kiln registry; its API is under /v2/.\n");
    }
}
