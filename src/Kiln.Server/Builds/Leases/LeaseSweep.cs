using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Metadata;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Builds.Leases;

/// <summary>
/// Ends what time has ended: leases without a heartbeat, executions that waited too long, secrets that nobody used. At
/// start it puts right what the last end of the server left, before any node asks for work.
/// </summary>
internal sealed partial class LeaseSweep(
    Database database,
    Attempts attempts,
    Builders builders,
    JobKeys keys,
    Executions executions,
    Settlement settlement,
    SecretVault secrets,
    ServerPresence presence,
    BuildOptions options,
    TimeProvider time,
    ILogger<LeaseSweep> log
) : BackgroundService
{
    public static readonly TimeSpan Period = TimeSpan.FromSeconds(5);

    // How long a lease that is over is remembered, for words that come too late, in milliseconds.
    private const long LeaseMemory = 7L * 24 * 3600 * 1000;

    // Of this server's own node, as it was before the server's start.
    private const string OwnNode = "lease_local = 1 AND (lease_server = @self OR lease_server IS NULL)";

    // Of another server's own node, which ended with it.
    private const string DeadNode =
        "lease_local = 1 AND lease_server <> @self AND NOT EXISTS "
        + "(SELECT 1 FROM servers s WHERE s.id = lease_server AND s.seen > @alive)";

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await RecoverAsync(cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    /// <summary>
    /// What ran on this server's own node was lost with it and is queued again at once. A lease of another node gets a
    /// whole period from now, and so does what waits: downtime expires nothing (build-extension, decision 9), which there
    /// was none of where another server was at work. Jobs whose executions are all done are settled.
    /// </summary>
    public Task RecoverAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                foreach (var row in Leased(transaction.Connection!, OwnNode))
                {
                    attempts.Lose(transaction, row, "the server was stopped during this attempt");
                }

                if (!presence.HasOthers(transaction.Connection!))
                {
                    Extend(transaction);
                }

                foreach (
                    var job in transaction.Query("SELECT id FROM jobs WHERE finished IS NULL", row => row.GetString(0))
                )
                {
                    settlement.Settle(transaction, job);
                }
            },
            cancel
        );

    /// <summary>One round.</summary>
    public Task SweepAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                foreach (var row in Leased(transaction.Connection!, DeadNode))
                {
                    attempts.Lose(transaction, row, "the server of this attempt has died");
                }

                foreach (var row in Leased(transaction.Connection!, "lease_expires <= @now"))
                {
                    attempts.Lose(transaction, row, $"node {row.Node} was not heard of in time");
                }

                ExpireQueue(transaction);
                secrets.DeleteUnused(transaction);
                builders.Forget(transaction);
                keys.DeleteOld(transaction);
                LeaseRow.DeleteBefore(transaction, time.Milliseconds() - LeaseMemory);
            },
            cancel
        );

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Period, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await TrySweepAsync(stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops.
        }
    }

    // A database that is away for a moment must not end the registry: the next round does what this one could not.
    private async Task TrySweepAsync(CancellationToken cancel)
    {
        try
        {
            await SweepAsync(cancel);
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogFault(log, e);
        }
    }

    private void Extend(DbTransaction transaction)
    {
        var grace = time.Milliseconds() + (options.LeaseSeconds * 1000L);
        transaction.Run(
            """
            UPDATE executions SET not_before = 0,
                queue_deadline = CASE WHEN queue_deadline < @grace THEN @grace ELSE queue_deadline END
            WHERE state = 'queued' AND finished IS NULL
            """,
            ("grace", grace)
        );
        transaction.Run(
            """
            UPDATE executions SET lease_expires = @grace
            WHERE finished IS NULL AND lease IS NOT NULL AND lease_expires < @grace
            """,
            ("grace", grace)
        );
    }

    private void ExpireQueue(DbTransaction transaction)
    {
        var late = transaction.Query(
            "SELECT id FROM executions WHERE state = 'queued' AND finished IS NULL AND queue_deadline <= @now",
            row => row.GetString(0),
            ("now", time.Milliseconds())
        );
        foreach (var id in late)
        {
            var outcome = new ExecutionOutcome
            {
                Reason = FailureReasons.QueueExpired,
                Message = "no build node took the job in the time that it may wait",
            };
            executions.Move(transaction, id, ExecutionEvent.Failed, outcome);
            settlement.SettleSubscribers(transaction, id);
        }
    }

    private List<ExecutionRow> Leased(DbConnection connection, string condition) =>
        connection.Query(
            $"""
            SELECT {ExecutionRow.Columns} FROM executions
            WHERE finished IS NULL AND lease IS NOT NULL AND {condition}
            """,
            ExecutionRow.Map,
            ("now", time.Milliseconds()),
            ("self", presence.Self),
            ("alive", presence.AliveSince)
        );

    [LoggerMessage(Level = LogLevel.Error, Message = "A round of the lease sweep failed; the next one tries again")]
    private static partial void LogFault(ILogger log, Exception exception);
}
