using System.Data.Common;
using System.Diagnostics.Metrics;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;

namespace Kiln.Server.Operation;

/// <summary>What is asked of the database when somebody looks: the queue, leases, uploads. At most every five seconds.</summary>
internal sealed class Gauges : IDisposable
{
    private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(5);

    private readonly Database _database;
    private readonly TimeProvider _time;
    private readonly Meter _meter;
    private readonly Lock _lock = new();
    private DateTimeOffset _asked = DateTimeOffset.MinValue;
    private Counts _counts = new([], 0, 0);

    public Gauges(Database database, MeterScope scope, TimeProvider time)
    {
        (_database, _time) = (database, time);
        // Of this server, not of the process, so that it ends with the database.
        _meter = scope.Create();
        _meter.CreateObservableGauge(
            "kiln.queue.executions",
            () => Now().States.Select(s => new Measurement<long>(s.Count, Tag("state", s.State))),
            "{build}",
            "Builds that are not done, by state."
        );
        _meter.CreateObservableGauge("kiln.leases", () => Now().Leases, "{lease}", "Leases that nodes hold.");
        _meter.CreateObservableGauge("kiln.uploads.open", () => Now().Uploads, "{upload}", "Uploads under way.");
    }

    public void Dispose() => _meter.Dispose();

    private static KeyValuePair<string, object?> Tag(string name, string value) => new(name, value);

    private Counts Now()
    {
        lock (_lock)
        {
            if (_time.GetUtcNow() - _asked >= Fresh)
            {
                _counts = Ask();
                _asked = _time.GetUtcNow();
            }

            return _counts;
        }
    }

    private Counts Ask()
    {
        try
        {
            return _database.Read(c => new Counts(
                c.Query(
                    "SELECT state, COUNT(*) FROM executions WHERE finished IS NULL GROUP BY state",
                    row => (row.GetString(0), row.GetInt64(1))
                ),
                c.Scalar<long>("SELECT COUNT(*) FROM executions WHERE finished IS NULL AND lease IS NOT NULL"),
                c.Scalar<long>("SELECT COUNT(*) FROM uploads")
            ));
        }
        catch (DbException)
        {
            // readyz says it; a page without these numbers is better than none.
            return new Counts([], 0, 0);
        }
    }

    private sealed record Counts(IReadOnlyList<(string State, long Count)> States, long Leases, long Uploads);
}
