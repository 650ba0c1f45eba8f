using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Progress;

/// <summary>
/// Wakes those who wait for the queue or for a job. A wake-up carries nothing: what happened is in the database, and
/// who waits asks there again. Take <see cref="Next"/> first, look into the database, then wait. They come from every
/// server that shares the database.
/// </summary>
internal sealed class Wakeups
{
    /// <summary>Something can be claimed.</summary>
    public const string Queue = "queue";

    // Topics share so many slots: whoever asks for jobs that never come would fill a dictionary, and who is woken for
    // another's sake looks into the database in vain, no more.
    private const int Slots = 4096;
    private readonly TaskCompletionSource[] _waiting = [.. Enumerable.Range(0, Slots).Select(_ => NewSlot())];
    private readonly Database _database;
    private readonly TimeProvider _time;

    public Wakeups(Database database, TimeProvider time)
    {
        (_database, _time) = (database, time);
        database.Listen(Wake);
    }

    /// <summary>Whether the server ends, so that nobody is to wait any longer.</summary>
    public bool IsStopping { get; private set; }

    /// <summary>Wakes everybody: whoever waits answers with what there is.</summary>
    public void Stop()
    {
        IsStopping = true;
        Wake(topic: null);
    }

    /// <summary>The topic of a job: its state, its progress, its log.</summary>
    public static string Job(string id) => "job:" + id;

    /// <summary>Ends at the next wake-up of <paramref name="topic"/>, and now and then for no reason.</summary>
    public Task Next(string topic) => Volatile.Read(ref _waiting[Slot(topic)]).Task;

    /// <summary>Waits for <paramref name="next"/>, but no longer than <paramref name="wait"/>.</summary>
    /// <returns>False where the time was over first.</returns>
    public async Task<bool> WaitAsync(Task next, TimeSpan wait, CancellationToken cancel)
    {
        if (wait <= TimeSpan.Zero)
        {
            return next.IsCompleted;
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var first = await Task.WhenAny(next, Task.Delay(wait, _time, stop.Token));
        await stop.CancelAsync();
        cancel.ThrowIfCancellationRequested();
        return first == next;
    }

    /// <summary>Wakes who waits for <paramref name="topic"/> once the transaction is durable.</summary>
    public void AfterCommit(DbTransaction transaction, string topic) => _database.Signal(transaction, topic);

    // Null: wake-ups may have been missed, so that everybody has to look.
    private void Wake(string? topic)
    {
        if (topic is not null)
        {
            Wake(Slot(topic));
            return;
        }

        for (var slot = 0; slot < Slots; slot++)
        {
            Wake(slot);
        }
    }

    private void Wake(int slot) => Interlocked.Exchange(ref _waiting[slot], NewSlot()).TrySetResult();

    private static int Slot(string topic) =>
        (string.GetHashCode(topic, StringComparison.Ordinal) & int.MaxValue) % Slots;

    private static TaskCompletionSource NewSlot() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
