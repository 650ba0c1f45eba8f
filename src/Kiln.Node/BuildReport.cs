using System.Diagnostics;
using System.Text;
using System.Threading.Channels;
using Kiln.BuildSpec;
using Kiln.Node.Engines;
using Microsoft.Extensions.Logging;

namespace Kiln.Node;

/// <summary>
/// What a build says while it runs, on its way to the registry: log bytes and heartbeats, in order, without holding the
/// build up. Learns from the answers whether it was cancelled or lost its lease.
/// </summary>
internal sealed partial class BuildReport(Lease lease, IBuildCoordinator coordinator, TimeProvider time, ILogger log)
    : IBuildListener,
        IDisposable
{
    // A registry that restarts is away for a while, and the build goes on.
    private const int MaxWaiting = 16 << 20;
    private const int LastTries = 300;
    private static readonly TimeSpan LastPause = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(150);
    private readonly CancellationTokenSource _canceled = new();
    private readonly CancellationTokenSource _finished = new();
    private readonly Channel<bool> _wake = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private readonly Lock _lock = new();
    private readonly List<BuildStep> _steps = [];
    private MemoryStream _waiting = new();
    private long _dropped;
    private string? _phase;
    private Activity? _build;
    private Activity? _span;
    private bool _changed;
    private volatile bool _hurried;

    /// <summary>Cancelled when the registry wants the build ended, or the lease is lost.</summary>
    public CancellationToken Canceled => _canceled.Token;

    /// <summary>True where nothing may be said under the lease any more.</summary>
    public bool Lost { get; private set; }

    public BuildConfinement? Confinement { get; private set; }

    public IReadOnlyList<BuildStep> Steps
    {
        get
        {
            lock (_lock)
            {
                return [.. _steps];
            }
        }
    }

    /// <summary>Begins a phase; for a trace the one before ends here.</summary>
    public void Phase(string phase)
    {
        Change(() => _phase = phase);
        EndSpan();
        _span = NodeTraces.Source.StartActivity(phase, ActivityKind.Internal, _build?.Context ?? default);
        Activity.Current = _build;
    }

    /// <summary>Begins the trace of the build, that its phases are parts of.</summary>
    public void Begin()
    {
        _build = NodeTraces.Source.StartActivity("build");
        _build?.SetTag("kiln.execution", lease.Execution);
        _build?.SetTag("kiln.attempt", lease.Attempt);
    }

    public void Step(BuildStep step) =>
        Change(() =>
        {
            var index = _steps.FindIndex(s => s.Number == step.Number);
            if (index < 0)
            {
                _steps.Add(step);
            }
            else
            {
                _steps[index] = step;
            }
        });

    public void Confined(BuildConfinement confinement) => Change(() => Confinement = confinement);

    /// <summary>Past a few megabytes that wait to be sent, a flood is dropped here already, and the log says so.</summary>
    public void Log(ReadOnlySpan<byte> text)
    {
        lock (_lock)
        {
            if (_waiting.Length < MaxWaiting)
            {
                _waiting.Write(text);
            }
            else
            {
                _dropped += text.Length;
            }
        }

        _wake.Writer.TryWrite(true);
    }

    /// <summary>Sends until <see cref="FinishAsync"/>.</summary>
    public async Task RunAsync()
    {
        var beat = TimeSpan.FromSeconds(lease.HeartbeatSeconds);
        var last = time.GetTimestamp();
        try
        {
            while (!_finished.IsCancellationRequested)
            {
                await WokenAsync(beat - time.GetElapsedTime(last));
                // A build that never stops printing must keep its lease, and hear of a cancel, like a silent one.
                var due = time.GetElapsedTime(last) >= beat;
                if (await SendAsync(heartbeat: due) && due)
                {
                    last = time.GetTimestamp();
                }

                await Task.Delay(Interval, time, _finished.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            // The lease lives as long as heartbeats come, and so does the hope that the end of the log gets through.
            for (var left = LastTries; !await SendAsync(heartbeat: left < LastTries) && left > 0 && !_hurried; left--)
            {
                await Task.Delay(LastPause, time);
            }
        }
        catch (LeaseLostException)
        {
            Lost = true;
            await _canceled.CancelAsync();
        }
    }

    /// <summary>This process is about to be killed: what cannot be sent at once is not sent.</summary>
    public void Hurry() => _hurried = true;

    /// <summary>Sends what is left and ends <paramref name="reporting"/>.</summary>
    public async Task FinishAsync(Task reporting)
    {
        await _finished.CancelAsync();
        await reporting;
    }

    public void Dispose()
    {
        EndSpan();
        _build?.Dispose();
        _canceled.Dispose();
        _finished.Dispose();
        _waiting.Dispose();
    }

    private void EndSpan()
    {
        _span?.Dispose();
        _span = null;
    }

    private async Task WokenAsync(TimeSpan wait)
    {
        if (wait <= TimeSpan.Zero)
        {
            return;
        }

        using var over = new CancellationTokenSource(wait, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(_finished.Token, over.Token);
        try
        {
            await _wake.Reader.ReadAsync(either.Token);
        }
        catch (OperationCanceledException)
        {
            // It is time for a heartbeat, or the build is over.
        }
    }

    /// <returns>False where the registry could not be told; what it should hear is kept for the next time.</returns>
    private async Task<bool> SendAsync(bool heartbeat)
    {
        var (text, beat) = Take(heartbeat);
        try
        {
            if (text.Length > 0)
            {
                var bytes = text.GetBuffer().AsMemory(0, (int)text.Length);
                await coordinator.AppendLogAsync(lease, bytes, CancellationToken.None);
                text.SetLength(0);
            }

            if (beat is not null && (await coordinator.HeartbeatAsync(lease, beat, CancellationToken.None)).Canceled)
            {
                await _canceled.CancelAsync();
            }

            return true;
        }
        catch (Exception e) when (e is not LeaseLostException)
        {
            LogUnsent(log, lease.Execution, e);
            lock (_lock)
            {
                _waiting.WriteTo(text);
                _waiting = text;
                _changed |= beat is not null;
            }

            return false;
        }
    }

    private (MemoryStream Text, LeaseHeartbeat? Beat) Take(bool heartbeat)
    {
        lock (_lock)
        {
            var text = _waiting;
            if (_dropped > 0)
            {
                text.Write(Encoding.UTF8.GetBytes($"\n[{_dropped} bytes came too fast and were dropped]\n"));
                _dropped = 0;
            }

            var beat = heartbeat || _changed ? Beat() : null;
            _waiting = new MemoryStream();
            _changed = false;
            return (text, beat);
        }
    }

    private LeaseHeartbeat Beat() =>
        new()
        {
            Phase = _phase,
            Progress = _steps is [.., var last] ? $"step {last.Number}/{last.Total}: {last.Text}" : null,
            Confinement = Confinement,
            Steps = [.. _steps],
        };

    private void Change(Action change)
    {
        lock (_lock)
        {
            change();
            _changed = true;
        }

        _wake.Writer.TryWrite(true);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Build {Execution} could not report; it tries again")]
    private static partial void LogUnsent(ILogger log, string execution, Exception exception);
}
