using System.Data.Common;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Kiln.Server.Metadata.Postgres;

/// <summary>
/// Tells other servers of the database what is committed (NOTIFY), and hears it from them (LISTEN). After a lost
/// connection it raises null, since nobody repeats what was said meanwhile.
/// </summary>
internal sealed partial class PostgresSignals : IDisposable
{
    // A dead peer is found out by asking; signals that were lost until then are made up for afterwards.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(1);

    // Payloads of NOTIFY are shorter than 8,000 bytes.
    private const int MaxPayload = 7500;

    private readonly NpgsqlDataSource _source;
    private readonly string _channel;

    // How our own announcements begin: they are heard of without the detour.
    private readonly string _self = Guid.NewGuid().ToString("n");
    private readonly Action<string?> _raise;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _listening;

    public PostgresSignals(NpgsqlDataSource source, string channel, Action<string?> raise, ILogger log)
    {
        (_source, _channel, _raise, _log) = (source, channel, raise, log);
        _listening = ListenAsync(_stop.Token);
    }

    /// <summary>Has other servers hear of topics, if the transaction is committed.</summary>
    public void Announce(DbTransaction transaction, IReadOnlyCollection<string> topics)
    {
        var payload = _self;
        foreach (var topic in topics)
        {
            if (payload.Length + topic.Length >= MaxPayload)
            {
                Notify(transaction, payload);
                payload = _self;
            }

            payload += ' ' + topic;
        }

        if (topics.Count > 0)
        {
            Notify(transaction, payload);
        }
    }

    public void Dispose()
    {
        _stop.Cancel();
        _listening.GetAwaiter().GetResult();
        _stop.Dispose();
    }

    private void Notify(DbTransaction transaction, string payload) =>
        transaction.Run("SELECT pg_notify(@channel, @payload)", ("channel", _channel), ("payload", payload));

    private async Task ListenAsync(CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                await HearAsync(cancel);
            }
            catch (OperationCanceledException) when (cancel.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                LogDeaf(_log, e.Message);
                await Task.Delay(Retry, cancel).ContinueWith(_ => { }, TaskScheduler.Default);
            }
        }
    }

    private async Task HearAsync(CancellationToken cancel)
    {
        await using var connection = await _source.OpenConnectionAsync(cancel);
        connection.Notification += (_, e) => Hear(e.Payload);
        await using (var listen = new NpgsqlCommand($"LISTEN {_channel}", connection))
        {
            await listen.ExecuteNonQueryAsync(cancel);
        }

        try
        {
            _raise(null);
            while (true)
            {
                if (!await connection.WaitAsync(Silence, cancel))
                {
                    await using var alive = new NpgsqlCommand("SELECT 1", connection);
                    await alive.ExecuteNonQueryAsync(cancel);
                }
            }
        }
        finally
        {
            // The pool must not give a connection that listens to somebody else.
            NpgsqlConnection.ClearPool(connection);
        }
    }

    private void Hear(string payload)
    {
        var words = payload.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (words.Length > 0 && words[0] != _self)
        {
            foreach (var topic in words.AsSpan(1))
            {
                _raise(topic);
            }
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "the database's connection for wake-ups was lost, and is made again: {Reason}"
    )]
    private static partial void LogDeaf(ILogger log, string reason);
}
