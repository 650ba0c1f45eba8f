using System.Collections.Concurrent;
using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Progress;

/// <summary>
/// Wakes those who wait for the queue or for a job. A wake-up carries nothing: what happened is in the database, and
/// who waits asks there again. Take <see cref="Next"/> first, look into the database, then wait.
/// </summary>
internal sealed class Wakeups(Database database, TimeProvider time)
{
    /// <summary>Something can be claimed.</summary>
    public const string Queue = "queue";
    private readonly ConcurrentDictionary<string, TaskCompletionSource> _waiting = new(StringComparer.Ordinal);

    /// <summary>The topic of a job: its state, its progress, its log.</summary>
    public static string Job(string id) => "job:" + id;

    /// <summary>Ends at the next wake-up of <paramref name="topic"/>.</summary>
    public Task Next(string topic) =>
        _waiting
            .GetOrAdd(topic, _ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously))
            .Task;

    /// <summary>Waits for <paramref name="next"/>, but no longer than <paramref name="wait"/>.</summary>
    /// <returns>False where the time was over first.</returns>
    public async Task<bool> WaitAsync(Task next, TimeSpan wait, CancellationToken cancel)
    {
        if (wait <= TimeSpan.Zero)
        {
            return next.IsCompleted;
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var first = await Task.WhenAny(next, Task.Delay(wait, time, stop.Token));
        await stop.CancelAsync();
        cancel.ThrowIfCancellationRequested();
        return first == next;
    }

    /// <summary>Wakes who waits for <paramref name="topic"/> once the transaction is durable.</summary>
    public void AfterCommit(DbTransaction transaction, string topic) =>
        database.AfterCommit(transaction, () => Wake(topic));

    public void Wake(string topic)
    {
        if (_waiting.TryRemove(topic, out var waiting))
        {
            waiting.TrySetResult();
        }
    }
}
