using Kiln.Node;
using Kiln.Server.Metering;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Kiln.Server.Operation;

/// <summary>Metrics and traces to a collector, by OTLP over HTTP.</summary>
internal static class Telemetry
{
    // Names of the framework's own: the span of a request, and what goes on in the runtime.
    private const string Requests = "Microsoft.AspNetCore";
    private const string Runtime = "System.Runtime";

    public static IServiceCollection AddTelemetry(this IServiceCollection services, OperationOptions options)
    {
        if (options.OtlpEndpoint is not { } endpoint)
        {
            return services;
        }

        var headers = HeadersOf(options.OtlpHeadersFile);
        services
            .AddOpenTelemetry()
            .ConfigureResource(resource =>
                resource.AddService("kiln", serviceInstanceId: $"{Environment.MachineName}:{Environment.ProcessId}")
            )
            .WithMetrics(metrics =>
                metrics
                    .AddMeter(Meters.Name, Runtime)
                    .AddOtlpExporter(exporter => Configure(exporter, endpoint, "/v1/metrics", headers))
            )
            .WithTracing(traces =>
                traces
                    .AddSource(Meters.Name, NodeTraces.Name, Requests)
                    .AddOtlpExporter(exporter => Configure(exporter, endpoint, "/v1/traces", headers))
            );
        return services;
    }

    private static void Configure(OtlpExporterOptions exporter, string endpoint, string path, string headers)
    {
        exporter.Protocol = OtlpExportProtocol.HttpProtobuf;
        exporter.Endpoint = new Uri(endpoint.TrimEnd('/') + path);
        exporter.Headers = headers;
    }

    /// <exception cref="ServerStartException">The file cannot be read.</exception>
    private static string HeadersOf(string? file)
    {
        try
        {
            return file is null
                ? ""
                : string.Join(
                    ',',
                    File.ReadAllLines(file).Select(l => l.Trim()).Where(l => l.Length > 0 && !l.StartsWith('#'))
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot read the headers for the collector: {e.Message}", e);
        }
    }
}
