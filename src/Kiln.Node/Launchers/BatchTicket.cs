using System.Threading.Channels;

namespace Kiln.Node.Launchers;

/// <summary>How a job came to its end, as far as the batch system knows.</summary>
internal enum BatchEndKind
{
    /// <summary>The batch system does not want it.</summary>
    Refused,

    /// <summary>It ended by itself.</summary>
    Ended,

    /// <summary>It was cancelled, by this node or by somebody else.</summary>
    Canceled,
    TimedOut,
    NodeFailed,
    Preempted,
    OutOfMemory,

    /// <summary>The batch system wanted to run it a second time, which this node does not let it.</summary>
    Requeued,

    /// <summary>The batch system knows nothing of it any more.</summary>
    Lost,

    /// <summary>It waited longer than the operator lets it.</summary>
    WaitedTooLong,
}

/// <param name="Text">What the batch system said; may be empty.</param>
internal sealed record BatchEnd(BatchEndKind Kind, string Text, BatchJob? Job);

/// <summary>One build at the batch system, from before it is submitted to its end. The desk writes it, the build reads it.</summary>
internal sealed class BatchTicket(BatchOrder order, DateTimeOffset begun)
{
    private readonly Channel<bool> _changed = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private volatile BatchEnd? _end;
    private volatile string _said = "waits to be submitted";

    public BatchOrder Order { get; } = order;
    public DateTimeOffset Begun { get; } = begun;

    /// <summary>Told of the job that it became, before anybody else hears of it.</summary>
    public required Action<string> Became { get; init; }

    /// <summary>Whether no job has begun with it.</summary>
    public required Func<bool> IsUntouched { get; init; }

    public string? Job { get; private set; }
    public BatchJob? Seen { get; private set; }

    /// <summary>When the batch system last told of the job; null before.</summary>
    public DateTimeOffset? Confirmed { get; private set; }

    /// <summary>Whether a job of it has begun, here or in an earlier life of this node.</summary>
    public bool HasRun { get; set; }

    /// <summary>Since when it is not known whether it was taken; null where it is.</summary>
    public DateTimeOffset? DoubtfulSince { get; set; }

    /// <summary>Since when it is known that a job has taken what lay there for it; null while none has.</summary>
    public DateTimeOffset? TakenSince { get; set; }

    public DateTimeOffset NotBefore { get; set; }
    public bool CancelWanted { get; set; }
    public bool CancelSent { get; set; }

    /// <summary>When it is tried again to cancel it.</summary>
    public DateTimeOffset CancelNotBefore { get; set; }

    /// <summary>Not in the last list, and to be looked up.</summary>
    public bool IsMissing { get; set; }

    public BatchEnd? End => _end;

    /// <summary>What there is to say of it now, for people.</summary>
    public string Said => _said;

    /// <summary>Waits for something to have changed, or for the time to be over.</summary>
    public async Task ChangedAsync(TimeSpan atMost, TimeProvider time, CancellationToken stop)
    {
        using var over = new CancellationTokenSource(atMost, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, over.Token);
        try
        {
            await _changed.Reader.ReadAsync(either.Token);
        }
        catch (OperationCanceledException)
        {
            // The caller looks at the time, and at its own token.
        }
    }

    /// <summary>Says it, cut to what a registry takes: a heartbeat with more in it would be none.</summary>
    public void Say(string text)
    {
        text = Sentence.Of(text);
        if (_said != text)
        {
            _said = text;
            _changed.Writer.TryWrite(true);
        }
    }

    /// <summary>It has become a job.</summary>
    public void Accept(string job)
    {
        // Of one that has ended nothing is kept any more.
        if (Job != job && End is null)
        {
            Became(job);
        }

        Job = job;
        DoubtfulSince = null;
    }

    /// <summary>The same, of an earlier process.</summary>
    public void Remember(string job) => Job = job;

    /// <summary>The batch system has told of it.</summary>
    public void See(BatchJob job, DateTimeOffset now)
    {
        Seen = job;
        Confirmed = now;
        IsMissing = false;
        HasRun |= job.State == BatchState.Running;
    }

    /// <summary>It is over; the first end counts.</summary>
    public void Finish(BatchEndKind kind, string text)
    {
        _end ??= new BatchEnd(kind, Sentence.Of(text), Seen);
        _changed.Writer.TryWrite(true);
    }
}
