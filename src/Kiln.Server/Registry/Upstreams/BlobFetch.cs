using Kiln.Oci;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// A blob on its way from an upstream. What has come so far is in a file without a name, which many can read at once and
/// which goes with the last of them; the blob store, where it goes as well, shows nothing before all of it is verified.
/// </summary>
internal sealed class BlobFetch(string directory) : IDisposable
{
    private readonly TaskCompletionSource<bool> _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _lock = new();
    private TaskCompletionSource _moved = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private SafeFileHandle? _spool;
    private long _length;
    private bool _verified;
    private bool _isOver;
    private OciException? _fault;

    /// <summary>The fetch itself; it never fails.</summary>
    public Task Work { get; set; } = Task.CompletedTask;

    /// <summary>Ends when bytes come and their size is known (true), or when there is nothing to wait for (false).</summary>
    public Task<bool> Started => _started.Task;

    /// <summary>In bytes; only when it has started.</summary>
    public long Size { get; private set; }

    /// <summary>Bytes come.</summary>
    /// <param name="size">How many; null where the upstream does not say, so that only the end tells.</param>
    public void Start(long? size)
    {
        if (size is { } known)
        {
            Size = known;
            _started.TrySetResult(true);
        }
    }

    /// <summary>Nothing comes: the blob is here, or nowhere.</summary>
    public void StartNothing() => _started.TrySetResult(false);

    /// <summary>Keeps bytes for those who wait.</summary>
    public async ValueTask KeepAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        await RandomAccess.WriteAsync(Spool(), bytes, _length, cancel);
        Move(() => _length += bytes.Length);
    }

    /// <summary>All bytes came, were verified, and are in the repository.</summary>
    public void Succeed()
    {
        Move(() => _verified = true);
        Size = _length;
        _started.TrySetResult(true);
    }

    /// <summary>No more bytes come, and what came is not in the repository.</summary>
    public void Fail(OciException fault)
    {
        Move(() => _fault = fault);
        _started.TrySetException(fault);
        // Nobody may be waiting.
        _ = _started.Task.Exception;
    }

    /// <summary>Joins those who read; null where the fetch is over already.</summary>
    public BlobReader? TryJoin()
    {
        lock (_lock)
        {
            return _isOver ? null : new BlobReader(this, Spool());
        }
    }

    /// <summary>
    /// How many bytes there are to read, or why there will be no more. The last one is held back until all are verified:
    /// nobody gets the whole of what is not what it claims to be.
    /// </summary>
    public (long Readable, bool IsEnd, Task Moved) State()
    {
        lock (_lock)
        {
            if (_fault is not null)
            {
                throw _fault;
            }

            return (_verified ? _length : Math.Max(0, _length - 1), _verified, _moved.Task);
        }
    }

    /// <summary>Nobody can join any more; those who read go on reading.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isOver = true;
            _spool?.Dispose();
        }
    }

    private SafeFileHandle Spool()
    {
        lock (_lock)
        {
            return _spool ??= Create(Path.Combine(directory, $"{Guid.NewGuid():n}"));
        }
    }

    private static SafeFileHandle Create(string path)
    {
        var file = File.OpenHandle(
            path,
            FileMode.CreateNew,
            FileAccess.ReadWrite,
            FileShare.ReadWrite | FileShare.Delete
        );
        // Without a name, nothing of it outlives the server.
        File.Delete(path);
        return file;
    }

    private void Move(Action change)
    {
        TaskCompletionSource moved;
        lock (_lock)
        {
            change();
            moved = _moved;
            _moved = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        moved.TrySetResult();
    }
}
