using System.Buffers;
using System.Diagnostics;
using System.Security.Cryptography;
using Kiln.Oci;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Storage.FileSystem;

/// <summary>
/// An upload under way: a file that grows, and the hash of what is in it. It outlives requests so that the hash need
/// not start over with each of them.
/// </summary>
internal sealed class FileUpload(FileSystemBlobStore store, Disk disk, string id, string path) : IBlobUpload
{
    private const int Free = 0;
    private const int Taken = 1;
    private const int Gone = 2;
    private const int RehashBuffer = 1 << 20;
    private const int WritePiece = 8 << 20;

    private int _state = Free;
    private string _algorithm = "";
    private SafeFileHandle? _file;

    // Up to where the disk was told to begin.
    private long _begun;

    // The hash covers exactly Length bytes; null when it has to be made again from the file.
    private IncrementalHash? _hash;

    // The state when the request took the upload.
    private IncrementalHash? _hashBefore;
    private long _lengthBefore;

    private Digest CurrentDigest => Digest.Finish(_algorithm, _hash!);

    public string Id => id;

    public long Length { get; private set; }

    public ValueTask<Digest> DigestAsync(CancellationToken cancel) => new(CurrentDigest);

    public bool IsGone => Volatile.Read(ref _state) == Gone;

    public bool TryTake() => Interlocked.CompareExchange(ref _state, Taken, Free) == Free;

    /// <summary>Opens the file and makes sure that the hash covers what is in it.</summary>
    public async Task OpenAsync(string algorithm, CancellationToken cancel)
    {
        _file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        File.SetUnixFileMode(_file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        var stored = RandomAccess.GetLength(_file);
        if (_hash is null || _algorithm != algorithm || Length != stored)
        {
            await RehashAsync(algorithm, stored, cancel);
        }

        _lengthBefore = Length;
        _hashBefore = _hash!.Clone();
    }

    public async Task AppendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        var hash = _hash!;
        try
        {
            // The write runs beside the hash.
            var write = RandomAccess.WriteAsync(_file!, bytes, Length, cancel);
            hash.AppendData(bytes.Span);
            await write;
            Length += bytes.Length;
            BeginWriting();
        }
        catch
        {
            _hash = null;
            hash.Dispose();
            RandomAccess.SetLength(_file!, Length);
            throw;
        }
    }

    // While the rest still comes the disk has nothing to do.
    private void BeginWriting()
    {
        if (Length - _begun >= WritePiece)
        {
            disk.Begin(_file!, _begun, Length - _begun);
            _begun = Length;
        }
    }

    public void RollBack()
    {
        RandomAccess.SetLength(_file!, _lengthBefore);
        Length = _lengthBefore;
        _begun = Math.Min(_begun, Length);
        _hash?.Dispose();
        _hash = _hashBefore!.Clone();
    }

    public async Task<Digest> CommitAsync(CancellationToken cancel)
    {
        var digest = CurrentDigest;
        var target = store.BlobPath(digest);
        var file = _file!;
        // Flushing blocks for as long as the disk takes.
        await Task.Run(
            () =>
            {
                disk.Flush(file);
                CreateDirectories(disk, Path.GetDirectoryName(target)!);
                // Over an existing blob too: its bytes are the same, and this one is known to be durable.
                File.Move(path, target, overwrite: true);
                disk.FlushDirectory(Path.GetDirectoryName(target)!);
            },
            cancel
        );
        Finish();
        return digest;
    }

    /// <summary>Ends an upload whose file is no longer under its name.</summary>
    public void Finish()
    {
        Volatile.Write(ref _state, Gone);
        CloseFile();
        store.Released(this);
    }

    public ValueTask DisposeAsync()
    {
        CloseFile();
        if (Interlocked.CompareExchange(ref _state, Free, Taken) == Taken)
        {
            store.Released(this);
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Drops the state of the hash, unless a request has the upload.</summary>
    public void Forget()
    {
        if (IsGone || Interlocked.CompareExchange(ref _state, Gone, Free) == Free)
        {
            _hash?.Dispose();
            _hash = null;
        }
    }

    private void CloseFile()
    {
        _file?.Dispose();
        _file = null;
        _hashBefore?.Dispose();
        _hashBefore = null;
    }

    private async Task RehashAsync(string algorithm, long stored, CancellationToken cancel)
    {
        _hash?.Dispose();
        _hash = null;
        var hash = Digest.Start(algorithm);
        var buffer = ArrayPool<byte>.Shared.Rent(RehashBuffer);
        try
        {
            for (long position = 0; position < stored; )
            {
                var read = await RandomAccess.ReadAsync(_file!, buffer, position, cancel);
                Debug.Assert(read > 0, "nobody else shortens an upload that is taken");
                hash.AppendData(buffer, 0, read);
                position += read;
            }

            (_algorithm, _hash, Length) = (algorithm, hash, stored);
        }
        catch
        {
            hash.Dispose();
            throw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // A new directory is durable once its parent is flushed.
    internal static void CreateDirectories(Disk disk, string directory)
    {
        if (!Directory.Exists(directory))
        {
            var parent = Path.GetDirectoryName(directory)!;
            CreateDirectories(disk, parent);
            Directory.CreateDirectory(directory);
            disk.FlushDirectory(parent);
        }
    }
}
