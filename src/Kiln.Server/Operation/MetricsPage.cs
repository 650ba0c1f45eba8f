using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using Kiln.Server.Metering;

namespace Kiln.Server.Operation;

/// <summary>
/// Keeps what the meters say, and writes it in the text format of Prometheus
/// (https://prometheus.io/docs/instrumenting/exposition_formats/). Series are bounded: past the limit a new combination of
/// tags is counted as <c>overflow="true"</c>.
/// </summary>
internal sealed class MetricsPage : IDisposable
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    // .NET's own: memory, garbage collection, processor time, threads.
    private const string RuntimeMeter = "System.Runtime";

    private readonly SortedDictionary<string, MetricFamily> _families = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private readonly Lock _scrape = new();
    private readonly MeterListener _listener = new();

    /// <param name="scope">Whose meters are listened to, beside those of the process.</param>
    public MetricsPage(object scope)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            var meter = instrument.Meter;
            if (meter.Name is Meters.Name or RuntimeMeter && (meter.Scope is null || meter.Scope == scope))
            {
                listener.EnableMeasurementEvents(instrument, FamilyOf(instrument));
            }
        };
        _listener.SetMeasurementEventCallback<long>((_, value, tags, state) => Record(state, value, tags));
        _listener.SetMeasurementEventCallback<int>((_, value, tags, state) => Record(state, value, tags));
        _listener.SetMeasurementEventCallback<double>((_, value, tags, state) => Record(state, value, tags));
        _listener.Start();
    }

    /// <summary>Everything, as it is now.</summary>
    public string Write()
    {
        // One at a time: another would forget what this one has just observed.
        lock (_scrape)
        {
            return Observe();
        }
    }

    private string Observe()
    {
        lock (_lock)
        {
            foreach (var family in _families.Values)
            {
                family.Forget();
            }
        }

        _listener.RecordObservableInstruments();
        var text = new StringBuilder();
        lock (_lock)
        {
            foreach (var family in _families.Values)
            {
                family.Write(text);
            }
        }

        return text.ToString();
    }

    public void Dispose() => _listener.Dispose();

    private static void Record(object? state, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
        ((MetricFamily)state!).Record(value, tags);

    private MetricFamily FamilyOf(Instrument instrument)
    {
        var family = new MetricFamily(instrument);
        lock (_lock)
        {
            if (!_families.TryAdd(family.Name, family))
            {
                return _families[family.Name];
            }
        }

        return family;
    }
}

/// <summary>One instrument with its series.</summary>
internal sealed class MetricFamily
{
    private const int MaxSeries = 1000;
    private const string Overflow = "overflow=\"true\"";

    private readonly Dictionary<string, Series> _series = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private readonly string _type;
    private readonly string _help;
    private readonly bool _absolute;
    private readonly IReadOnlyList<double> _boundaries;

    public MetricFamily(Instrument instrument)
    {
        var kind = instrument.GetType().Name;
        var counter =
            kind.StartsWith("Counter", StringComparison.Ordinal)
            || kind.StartsWith("ObservableCounter", StringComparison.Ordinal);
        _absolute = instrument.IsObservable || kind.StartsWith("Gauge", StringComparison.Ordinal);
        var histogram = instrument as Histogram<double>;
        _boundaries = histogram?.Advice?.HistogramBucketBoundaries ?? [];
        _type =
            histogram is not null ? "histogram"
            : counter ? "counter"
            : "gauge";
        _help = (instrument.Description ?? instrument.Name).Replace("\n", " ", StringComparison.Ordinal);
        Name = NameOf(instrument, counter);
    }

    public string Name { get; }

    public void Record(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var labels = LabelsOf(tags);
        lock (_lock)
        {
            if (!_series.TryGetValue(labels, out var series))
            {
                var key = _series.Count < MaxSeries ? labels : Overflow;
                if (!_series.TryGetValue(key, out series))
                {
                    _series[key] = series = new Series(_boundaries.Count + 1);
                }
            }

            series.Add(value, _absolute, _boundaries);
        }
    }

    /// <summary>What is observed anew each time is not kept from the last one: a tag may be gone.</summary>
    public void Forget()
    {
        if (_absolute)
        {
            lock (_lock)
            {
                _series.Clear();
            }
        }
    }

    public void Write(StringBuilder text)
    {
        lock (_lock)
        {
            if (_series.Count == 0)
            {
                return;
            }

            text.Append($"# HELP {Name} {_help}\n# TYPE {Name} {_type}\n");
            foreach (var (labels, series) in _series.OrderBy(s => s.Key, StringComparer.Ordinal))
            {
                if (_type == "histogram")
                {
                    WriteHistogram(text, labels, series);
                }
                else
                {
                    Line(text, Name, labels, series.Sum);
                }
            }
        }
    }

    private void WriteHistogram(StringBuilder text, string labels, Series series)
    {
        var comma = labels.Length > 0 ? "," : "";
        long below = 0;
        for (var i = 0; i < _boundaries.Count; i++)
        {
            below += series.Buckets[i];
            Line(text, Name + "_bucket", $"{labels}{comma}le=\"{Number(_boundaries[i])}\"", below);
        }

        Line(text, Name + "_bucket", $"{labels}{comma}le=\"+Inf\"", series.Count);
        Line(text, Name + "_sum", labels, series.Sum);
        Line(text, Name + "_count", labels, series.Count);
    }

    private static void Line(StringBuilder text, string name, string labels, double value) =>
        text.Append(name)
            .Append(labels.Length > 0 ? $"{{{labels}}}" : "")
            .Append(' ')
            .Append(Number(value))
            .Append('\n');

    private static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    // OpenTelemetry's "Prometheus and OpenMetrics Compatibility": points become underscores, the unit and _total follow.
    private static string NameOf(Instrument instrument, bool counter)
    {
        var name = instrument.Name.Replace('.', '_').Replace('-', '_');
        name += instrument.Unit switch
        {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        return counter ? name + "_total" : name;
    }

    private static string LabelsOf(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (tags.IsEmpty)
        {
            return "";
        }

        var text = new StringBuilder();
        foreach (var (key, value) in tags)
        {
            text.Append(text.Length > 0 ? "," : "").Append(key.Replace('.', '_')).Append("=\"");
            foreach (var c in value?.ToString() ?? "")
            {
                text.Append(
                    c switch
                    {
                        '\\' => @"\\",
                        '"' => "\\\"",
                        '\n' => "\\n",
                        _ => c.ToString(),
                    }
                );
            }

            text.Append('"');
        }

        return text.ToString();
    }

    private sealed class Series(int buckets)
    {
        public long[] Buckets { get; } = new long[buckets];

        public long Count { get; private set; }

        public double Sum { get; private set; }

        public void Add(double value, bool absolute, IReadOnlyList<double> boundaries)
        {
            Sum = absolute ? value : Sum + value;
            Count++;
            var i = 0;
            while (i < boundaries.Count && value > boundaries[i])
            {
                i++;
            }

            Buckets[i]++;
        }
    }
}
