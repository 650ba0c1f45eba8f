namespace Kiln.Node.Notifications;

/// <summary>Lets loops sleep until something has changed or a time has come.</summary>
internal sealed class Wakeup
{
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(1);
    private readonly Lock _lock = new();
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ends when <see cref="Set"/> is called. Take it before looking, so that nothing is missed.</summary>
    public Task Changed
    {
        get
        {
            lock (_lock)
            {
                return _changed.Task;
            }
        }
    }

    public void Set()
    {
        lock (_lock)
        {
            _changed.TrySetResult();
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    /// <summary>Waits for <paramref name="changed"/>, a time, or a while.</summary>
    /// <param name="due">Milliseconds since 1970; null where no time is waited for.</param>
    /// <param name="most">Not longer than this.</param>
    public static async Task WaitAsync(
        Task changed,
        long? due,
        TimeSpan most,
        TimeProvider time,
        CancellationToken cancel
    )
    {
        var left = due is { } at ? TimeSpan.FromMilliseconds(at - time.GetUtcNow().ToUnixTimeMilliseconds()) : most;
        left = left < most ? left : most;
        if (left <= TimeSpan.Zero)
        {
            return;
        }

        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        await Task.WhenAny(changed, Task.Delay(left, time, over.Token));
        await over.CancelAsync();
        cancel.ThrowIfCancellationRequested();
    }

    /// <inheritdoc cref="WaitAsync(Task, long?, TimeSpan, TimeProvider, CancellationToken)"/>
    public static Task WaitAsync(Task changed, long? due, TimeProvider time, CancellationToken cancel) =>
        WaitAsync(changed, due, Longest, time, cancel);
}
