using System.Data.Common;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Metadata;

/// <summary>Who this server is among those that share a database: the same as long as its data directory is.</summary>
internal sealed record ServerId(string Value);

/// <summary>
/// Which servers work on this database. Each says every few seconds that it is there; one that has not for
/// <see cref="Patience"/> is dead, as far as the others are concerned. It may only be slow: so whatever is taken from a dead
/// server is fenced, and its late word is refused.
/// </summary>
internal sealed partial class ServerPresence(
    Database database,
    ServerId self,
    TimeProvider time,
    ILogger<ServerPresence> log
) : BackgroundService
{
    /// <summary>How long a server may be silent.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(3);

    // Rows of servers that will not come back.
    private static readonly TimeSpan Forget = TimeSpan.FromDays(7);

    /// <summary>This server's id.</summary>
    public string Self => self.Value;

    /// <summary>Servers seen since then are alive, in Unix milliseconds: the parameter of a query on <c>servers</c>.</summary>
    public long AliveSince => (time.GetUtcNow() - Patience).ToUnixTimeMilliseconds();

    /// <summary>Whether another server is at work.</summary>
    public bool HasOthers(DbConnection connection) =>
        connection.Scalar<long?>(
            "SELECT 1 FROM servers WHERE id <> @self AND seen > @alive LIMIT 1",
            ("self", Self),
            ("alive", AliveSince)
        )
            is not null;

    /// <summary>Whether a server has given a sign of life of late.</summary>
    public bool IsAlive(DbConnection connection, string server) =>
        connection.Scalar<long?>(
            "SELECT 1 FROM servers WHERE id = @server AND seen > @alive",
            ("server", server),
            ("alive", AliveSince)
        )
            is not null;

    /// <summary>Says that this server is there before anything else of it starts.</summary>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await SayAsync(cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (database.IsShared)
        {
            // What it held is free at once.
            await database.WriteAsync(
                transaction => transaction.Run("DELETE FROM servers WHERE id = @self", ("self", Self)),
                cancellationToken
            );
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!database.IsShared)
        {
            return;
        }

        using var timer = new PeriodicTimer(Beat, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await TrySayAsync(stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops.
        }
    }

    private async Task TrySayAsync(CancellationToken cancel)
    {
        try
        {
            await SayAsync(cancel);
        }
        catch (DbException e)
        {
            LogUnheard(log, e.Message);
        }
    }

    private async Task SayAsync(CancellationToken cancel)
    {
        if (!database.IsShared)
        {
            return;
        }

        var now = time.GetUtcNow();
        await database.WriteAsync(
            transaction =>
            {
                transaction.Run(
                    """
                    INSERT INTO servers (id, seen) VALUES (@self, @now)
                    ON CONFLICT (id) DO UPDATE SET seen = excluded.seen
                    """,
                    ("self", Self),
                    ("now", now.ToUnixTimeMilliseconds())
                );
                transaction.Run(
                    "DELETE FROM servers WHERE seen < @before",
                    ("before", (now - Forget).ToUnixTimeMilliseconds())
                );
            },
            cancel
        );
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "cannot tell other servers that this one is alive: {Reason}")]
    private static partial void LogUnheard(ILogger log, string reason);
}
