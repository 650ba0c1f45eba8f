using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Operation;

/// <summary>What else a server cannot do its work without.</summary>
/// <param name="What">As it stands in <c>/readyz</c>.</param>
/// <param name="Ask">Throws where it is not there.</param>
internal sealed record ReadyQuestion(string What, Func<Task> Ask);

/// <summary>
/// Whether the server can do its work: not stopping, database and storage reachable. Asked at most once a second, whoever
/// wants to know.
/// </summary>
internal sealed partial class Health(
    Database database,
    IBlobStore blobs,
    DataDirectory directory,
    IEnumerable<ReadyQuestion> more,
    TimeProvider time,
    ILogger<Health> log
) : IDisposable
{
    private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _one = new(1);
    private readonly Dictionary<string, Task> _pending = new(StringComparer.Ordinal);
    private long? _asked;
    private string? _fault;

    /// <summary>Set once, when the server was told to end.</summary>
    public bool IsStopping { get; set; }

    /// <summary>Why the server is not ready, in a few words without anything secret; null where it is.</summary>
    public async Task<string?> FaultAsync(CancellationToken cancel)
    {
        if (IsStopping)
        {
            return "stopping";
        }

        await _one.WaitAsync(cancel);
        try
        {
            if (_asked is not { } asked || time.GetElapsedTime(asked) >= Fresh)
            {
                var before = _fault;
                _fault = await AskAsync();
                _asked = time.GetTimestamp();
                if (_fault is null && before is not null)
                {
                    LogReady(log);
                }
            }
        }
        finally
        {
            _one.Release();
        }

        return _fault;
    }

    public void Dispose() => _one.Dispose();

    private async Task<string?> AskAsync()
    {
        var fault =
            await TryAsync("database", () => Task.FromResult(database.Read(c => c.Scalar<long>("SELECT 1"))))
            ?? await TryAsync("storage", StorageAsync);
        foreach (var question in more)
        {
            fault ??= await TryAsync(question.What, question.Ask);
        }

        return fault;
    }

    private async Task StorageAsync()
    {
        if (!Directory.Exists(directory.Root))
        {
            throw new IOException($"{directory.Root} is not there");
        }

        await blobs.SizeAsync(Digest.EmptyJson, CancellationToken.None);
    }

    // Away from the request's thread: a database or a file system that hangs keeps the thread that asked it, and no second
    // one asks until that one is back.
    private async Task<string?> TryAsync(string what, Func<Task> ask)
    {
        if (_pending.TryGetValue(what, out var before) && !before.IsCompleted)
        {
            return NotReachable(what);
        }

        try
        {
            await (_pending[what] = RunApart(ask)).WaitAsync(Patience, time);
            return null;
        }
        catch (Exception e)
        {
            LogNotReady(log, what, e.Message);
            return NotReachable(what);
        }
    }

    private static string NotReachable(string what) => $"{what} not reachable";

    private static Task RunApart(Func<Task> ask) =>
        Task
            .Factory.StartNew(ask, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)
            .Unwrap();

    [LoggerMessage(Level = LogLevel.Error, Message = "not ready: the {What} cannot be reached: {Reason}")]
    private static partial void LogNotReady(ILogger log, string what, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "ready again")]
    private static partial void LogReady(ILogger log);
}
