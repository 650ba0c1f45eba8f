using System.Threading.Channels;
using Kiln.BuildSpec;
using Kiln.Node.Engines;

namespace Kiln.Node;

/// <summary>
/// What a build says while it runs, on its way to the registry: log bytes and heartbeats, in order, without holding the
/// build up. Learns from the answers whether it was cancelled or lost its lease.
/// </summary>
internal sealed class BuildReport(Lease lease, IBuildCoordinator coordinator, TimeProvider time)
    : IBuildListener,
        IDisposable
{
    private const int MaxWaiting = 4 << 20;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(150);
    private readonly CancellationTokenSource _canceled = new();
    private readonly CancellationTokenSource _finished = new();
    private readonly Channel<bool> _wake = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private readonly Lock _lock = new();
    private readonly List<BuildStep> _steps = [];
    private MemoryStream _waiting = new();
    private string? _phase;
    private bool _changed;

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

    public void Phase(string phase) => Change(() => _phase = phase);

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

    /// <summary>Past a few megabytes that wait to be sent, a flood is dropped here already; the registry's limit is lower on average.</summary>
    public void Log(ReadOnlySpan<byte> text)
    {
        lock (_lock)
        {
            if (_waiting.Length < MaxWaiting)
            {
                _waiting.Write(text);
            }
        }

        _wake.Writer.TryWrite(true);
    }

    /// <summary>Sends until <see cref="FinishAsync"/>.</summary>
    public async Task RunAsync()
    {
        var beat = TimeSpan.FromSeconds(lease.HeartbeatSeconds);
        try
        {
            while (!_finished.IsCancellationRequested)
            {
                using var wait = CancellationTokenSource.CreateLinkedTokenSource(_finished.Token);
                wait.CancelAfter(beat);
                var woken = await WokenAsync(wait.Token);
                await SendAsync(heartbeat: !woken);
                await Task.Delay(Interval, time, _finished.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            await SendAsync(heartbeat: false);
        }
        catch (Exception)
        {
            // The lease is gone, or the registry cannot be told any more and will take it back: either way no word under
            // it counts, and the build ends.
            Lost = true;
            await _canceled.CancelAsync();
        }
    }

    /// <summary>Sends what is left and ends <paramref name="reporting"/>.</summary>
    public async Task FinishAsync(Task reporting)
    {
        await _finished.CancelAsync();
        await reporting;
    }

    public void Dispose()
    {
        _canceled.Dispose();
        _finished.Dispose();
        _waiting.Dispose();
    }

    private async Task<bool> WokenAsync(CancellationToken cancel)
    {
        try
        {
            return await _wake.Reader.ReadAsync(cancel);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private async Task SendAsync(bool heartbeat)
    {
        MemoryStream text;
        LeaseHeartbeat? beat;
        lock (_lock)
        {
            text = _waiting;
            _waiting = new MemoryStream();
            beat = heartbeat || _changed ? Beat() : null;
            _changed = false;
        }

        if (text.Length > 0)
        {
            await coordinator.AppendLogAsync(
                lease,
                text.GetBuffer().AsMemory(0, (int)text.Length),
                CancellationToken.None
            );
        }

        if (beat is not null && (await coordinator.HeartbeatAsync(lease, beat, CancellationToken.None)).Canceled)
        {
            await _canceled.CancelAsync();
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
}
