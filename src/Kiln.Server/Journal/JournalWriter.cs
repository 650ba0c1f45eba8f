using Kiln.Server.Metadata;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Journal;

/// <summary>
/// Brings what is in the outbox into the journal, in order and in batches: first the bytes of manifests into the blob store,
/// then the lines; only then are the rows deleted. What a crash leaves is written again, which changes nothing.
/// </summary>
internal sealed partial class JournalWriter(
    Database database,
    ManifestBytes bytes,
    IJournalStore journal,
    JournalLease lease,
    JournalSnapshot snapshot,
    TimeProvider time,
    ILogger<JournalWriter> log
) : BackgroundService
{
    /// <summary>How long an entry waits at most while nothing fails.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(500);

    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(30);

    // Entries of a batch; with manifests of 8 MiB at most, MaxBatchBytes ends it before.
    private const int MaxBatch = 2000;
    private const long MaxBatchBytes = 16 << 20;

    private readonly SemaphoreSlim _one = new(1);
    private JournalSegment? _segment;
    private int _failures;

    /// <summary>Writes all that is in the outbox now.</summary>
    /// <returns>False where another server writes the journal.</returns>
    public async Task<bool> DrainAsync(CancellationToken cancel)
    {
        await _one.WaitAsync(cancel);
        try
        {
            while (true)
            {
                var due = await snapshot.IsDueAsync(cancel);
                if (!due && database.Read(JournalOutbox.IsEmpty))
                {
                    return true;
                }

                if (
                    await lease.TakeAsync(anew: _segment is null, cancel) is not { } turn
                    || !await (
                        due
                            ? TakeSnapshotAsync(turn, cancel)
                            : lease.HoldAsync(turn, token => WriteBatchAsync(turn, token), cancel)
                    )
                )
                {
                    _segment = null;
                    return false;
                }
            }
        }
        catch
        {
            // A line may have been written in part: the next one goes into another segment.
            _segment = null;
            throw;
        }
        finally
        {
            _one.Release();
        }
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        try
        {
            await DrainAsync(cancellationToken);
            await lease.ReleaseAsync(cancellationToken);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            LogFailed(log, e.Message);
        }
    }

    public override void Dispose()
    {
        _one.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await DrainAsync(stoppingToken);
                _failures = 0;
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // Pushes go on: the outbox keeps what the journal lacks.
                LogFailed(log, e.Message);
                _failures++;
            }

            var pause = Interval * Math.Pow(2, Math.Min(_failures, 8));
            try
            {
                await Task.Delay(pause < LongestPause ? pause : LongestPause, time, stoppingToken);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    private async Task<bool> TakeSnapshotAsync(JournalTurn turn, CancellationToken cancel)
    {
        _segment = new JournalSegment(turn.Epoch, turn.Next, IsSnapshot: false);
        return await snapshot.TakeAsync(turn, cancel);
    }

    private async Task<bool> WriteBatchAsync(JournalTurn turn, CancellationToken cancel)
    {
        var (entries, manifests) = database.Read(connection =>
        {
            var all = JournalOutbox.Peek(connection, MaxBatch);
            return ManifestBytes.Of(connection, all, MaxBatchBytes);
        });
        await bytes.StoreAsync(manifests, cancel);
        var anew = _segment is null || !journal.CanAppend;
        _segment = anew || _segment is null ? new JournalSegment(turn.Epoch, turn.Next, IsSnapshot: false) : _segment;
        using var lines = new MemoryStream();
        var number = turn.Next;
        foreach (var (_, entry) in entries)
        {
            JournalLines.Write(lines, _segment, number++, entry);
        }

        await journal.AppendAsync(_segment, lines.GetBuffer().AsMemory(0, (int)lines.Length), cancel);
        snapshot.Wrote(lines.Length, anew);
        return await bytes.RecordAsync(
            manifests,
            transaction =>
            {
                if (!lease.Advance(transaction, turn, number))
                {
                    return false;
                }

                JournalOutbox.Remove(transaction, entries.Select(e => e.Id));
                return true;
            },
            cancel
        );
    }

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "the journal is behind: {Reason}. Nothing is lost while the database is there; trying again"
    )]
    private static partial void LogFailed(ILogger log, string reason);
}
