using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Operation;

/// <summary>
/// Whether the server can do its work: not stopping, database and storage reachable. Asked at most once a second, whoever
/// wants to know.
/// </summary>
internal sealed partial class Health(
    Database database,
    IBlobStore blobs,
    DataDirectory directory,
    TimeProvider time,
    ILogger<Health> log
) : IDisposable
{
    private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _one = new(1);
    private DateTimeOffset _asked = DateTimeOffset.MinValue;
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
            if (time.GetUtcNow() - _asked >= Fresh)
            {
                var before = _fault;
                _fault = await AskAsync();
                _asked = time.GetUtcNow();
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

    private async Task<string?> AskAsync() =>
        await TryAsync("database", () => Task.Run(() => database.Read(c => c.Scalar<long>("SELECT 1"))))
        ?? await TryAsync("storage", StorageAsync);

    private async Task StorageAsync()
    {
        if (!Directory.Exists(directory.Root))
        {
            throw new IOException($"{directory.Root} is not there");
        }

        await blobs.SizeAsync(Digest.EmptyJson, CancellationToken.None);
    }

    private async Task<string?> TryAsync(string what, Func<Task> ask)
    {
        try
        {
            await ask().WaitAsync(Patience, time);
            return null;
        }
        catch (Exception e)
        {
            LogNotReady(log, what, e.Message);
            return $"{what} not reachable";
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "not ready: the {What} cannot be reached: {Reason}")]
    private static partial void LogNotReady(ILogger log, string what, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "ready again")]
    private static partial void LogReady(ILogger log);
}
