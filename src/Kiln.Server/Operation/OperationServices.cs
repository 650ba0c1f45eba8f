using Kiln.Server.Metering;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Operation;

/// <summary>The parts by which the server is watched and ended.</summary>
internal static class OperationServices
{
    public static IServiceCollection AddOperation(this IServiceCollection services, OperationOptions options)
    {
        services.AddSingleton(options).AddSingleton<Health>().AddSingleton<MeterScope>().AddSingleton<Gauges>();
        services.AddSingleton(provider => new Management(
            provider.GetRequiredService<Health>(),
            options.ManagementUrl is null ? null : provider.GetRequiredService<MetricsPage>()
        ));
        services.AddSingleton(provider => new MetricsPage(provider.GetRequiredService<MeterScope>()));
        services.Configure<HostOptions>(host => host.ShutdownTimeout = options.StopTimeout);
        return services.AddTelemetry(options);
    }

    /// <summary>What a server that is a process of its own has beside: signals, and systemd.</summary>
    public static IServiceCollection AddProcess(this IServiceCollection services) =>
        services.AddSingleton(Systemd.OfProcess()).AddSingleton<IHostLifetime, ProcessLifetime>();

    /// <summary>Log lines for people, or for a program that reads them.</summary>
    public static void Format(this ILoggingBuilder logging, LogFormat format)
    {
        logging.ClearProviders();
        // The framework's own scope has another id of the request, of its making.
        logging.AddFilter("Microsoft.AspNetCore.Hosting.Diagnostics", LogLevel.None);
        if (format == LogFormat.Json)
        {
            // Scopes: the id and path of the request that a line belongs to.
            logging.AddJsonConsole(console =>
            {
                console.IncludeScopes = true;
                console.UseUtcTimestamp = true;
                console.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ";
            });
        }
        else
        {
            logging.AddSimpleConsole(console => console.SingleLine = true);
        }
    }

    /// <summary>First in the pipeline: what asks about the server itself.</summary>
    public static void UseManagement(this WebApplication app, OperationOptions options)
    {
        var services = app.Services;
        if (options.ManagementUrl is not null || options.OtlpEndpoint is not null)
        {
            services.GetRequiredService<Gauges>();
        }

        var management = services.GetRequiredService<Management>();
        app.Use(management.InvokeAsync);
        // Also where the host is stopped otherwise than by a signal.
        var health = services.GetRequiredService<Health>();
        services
            .GetRequiredService<IHostApplicationLifetime>()
            .ApplicationStopping.Register(() => health.IsStopping = true);
    }
}
