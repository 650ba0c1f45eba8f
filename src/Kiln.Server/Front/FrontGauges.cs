using System.Data.Common;
using System.Diagnostics.Metrics;
using Kiln.Server.Metering;

namespace Kiln.Server.Front;

/// <summary>What is looked at when somebody looks: the registry behind, and what is on its way there.</summary>
internal sealed class FrontGauges : IDisposable
{
    private readonly Meter _meter;

    public FrontGauges(RegistryBehind behind, Landings landings, PassThrough wire, MeterScope scope)
    {
        // Of this server, not of the process, so that it ends with the database.
        _meter = scope.Create();
        _meter.CreateObservableGauge(
            "kiln.front.behind.up",
            () => behind.Fault is null ? 1L : 0L,
            null,
            "Whether the registry behind had an answer to the last request."
        );
        _meter.CreateObservableGauge(
            "kiln.front.landings.waiting",
            () => Waiting(landings),
            "{job}",
            "Jobs whose images are built and on their way to the registry behind."
        );
        _meter.CreateObservableGauge(
            "kiln.front.passing",
            () => (long)wire.Count,
            "{request}",
            "Requests that are being passed on to the registry behind."
        );
    }

    public void Dispose() => _meter.Dispose();

    private static long Waiting(Landings landings)
    {
        try
        {
            return landings.Count();
        }
        catch (DbException)
        {
            // readyz says it; a page without this number is better than none.
            return 0;
        }
    }
}
