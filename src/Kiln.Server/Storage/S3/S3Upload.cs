using System.Buffers;
using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.Server.Storage.S3;

/// <summary>
/// An upload in the hands of one request. Bytes gather in a buffer that goes to the bucket as an object when it is full,
/// while the next one fills: at most two buffers of 8 MiB for one upload (32 MiB each beyond 16 GB, 64 MiB beyond 110 GB),
/// and no more than about twice what came for a small one. What does not fill one goes there when the request
/// ends, so that the next request may come to another server.
/// </summary>
internal sealed class S3Upload : IBlobUpload
{
    private const int FirstBuffer = 256 << 10;

    private readonly S3BlobStore _store;
    private readonly S3Bucket _bucket;
    private readonly StagedUploads _rows;
    private readonly string _id;
    private readonly string _algorithm;
    private readonly List<StagedPart> _parts;

    // As the request found it.
    private readonly int _partsBefore;
    private readonly long _lengthBefore;
    private readonly Digest? _digestBefore;
    private readonly IncrementalHash? _hashBefore;

    // Null: there is nothing of this upload anywhere but in the buffer.
    private StagedState? _state;

    // Covers exactly Length bytes; null where it would have to be made from what is stored.
    private IncrementalHash? _hash;

    // The digest, where it is known without the state of the hash.
    private Digest? _digest;
    private byte[] _buffer = [];
    private int _filled;
    private Task _sending = Task.CompletedTask;
    private bool _rolledBack;
    private bool _ended;

    public S3Upload(
        S3BlobStore store,
        S3Bucket bucket,
        StagedUploads rows,
        string id,
        string algorithm,
        StagedState? state,
        IdleHash? idle
    )
    {
        (_store, _bucket, _rows, _id, _algorithm, _state) = (store, bucket, rows, id, algorithm, state);
        _parts = [.. state?.Parts ?? []];
        _partsBefore = _parts.Count;
        _lengthBefore = Length = _parts.Sum(part => part.Size);
        _hash = idle?.Hash ?? (_parts.Count == 0 ? Digest.Start(algorithm) : null);
        _hashBefore = _hash?.Clone();
        _digestBefore = _digest = state?.Digest is { } digest && digest.Algorithm == algorithm ? digest : null;
    }

    public long Length { get; private set; }

    public async ValueTask<Digest> DigestAsync(CancellationToken cancel)
    {
        if (_hash is null && _digest is { } known)
        {
            return known;
        }

        _hash ??= await RehashAsync(cancel);
        return Digest.Finish(_algorithm, _hash);
    }

    public async Task AppendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        if (bytes.IsEmpty)
        {
            return;
        }

        _digest = null;
        _hash?.AppendData(bytes.Span);
        Length += bytes.Length;
        while (!bytes.IsEmpty)
        {
            Grow(_filled + bytes.Length);
            var fits = Math.Min(bytes.Length, _buffer.Length - _filled);
            bytes[..fits].CopyTo(_buffer.AsMemory(_filled));
            _filled += fits;
            bytes = bytes[fits..];
            if (_filled == _buffer.Length && _filled >= PartBytes())
            {
                await SendAsync();
            }
        }
    }

    public void RollBack()
    {
        _rolledBack = true;
        _filled = 0;
        Length = _lengthBefore;
        _digest = _digestBefore;
        _hash?.Dispose();
        _hash = _hashBefore?.Clone();
    }

    public async Task<Digest> CommitAsync(CancellationToken cancel)
    {
        var digest = await DigestAsync(cancel);
        await SentAsync();
        var assembly = new S3Assembly(_bucket, S3BlobStore.Key(digest), _parts, _buffer.AsMemory(0, _filled));
        await assembly.RunAsync(
            (key, multipart) => _rows.CommittingAsync(_id, _state!.Fence, key, multipart, cancel),
            cancel
        );
        _ended = true;
        if (_state is { } state)
        {
            await _store.RemoveAsync(_id, state with { Parts = _parts }, CancellationToken.None);
        }

        return digest;
    }

    public async ValueTask DisposeAsync()
    {
        IdleHash? idle = null;
        try
        {
            if (!_ended)
            {
                idle = await KeepAsync();
            }
        }
        finally
        {
            Return(_buffer);
            _hashBefore?.Dispose();
            if (idle is null)
            {
                _hash?.Dispose();
            }

            _store.Released(_id, idle);
        }
    }

    /// <summary>How large the object of that number is, so that the largest blob fits into as many as S3 allows.</summary>
    internal static int PartSize(int ordinal) =>
        ordinal < 2000 ? 8 << 20
        : ordinal < 5000 ? 32 << 20
        : 64 << 20;

    // What came stays for the next request; what was rolled back does not.
    private async Task<IdleHash?> KeepAsync()
    {
        try
        {
            if (_filled > 0)
            {
                await SendAsync();
            }

            await SentAsync();
        }
        catch when (_rolledBack)
        {
            // What did not come to be is not wanted.
        }
        catch when (_state is not null)
        {
            await _rows.ReleaseAsync(_id, _state.Fence, _parts.Count, null, CancellationToken.None);
            throw;
        }

        if (_state is null)
        {
            return null;
        }

        var kept = _rolledBack ? _partsBefore : _parts.Count;
        var digest = _hash is null ? _digest : Digest.Finish(_algorithm, _hash);
        await _rows.ReleaseAsync(_id, _state.Fence, kept, digest, CancellationToken.None);
        await _store.DeleteAsync(_parts[kept..], CancellationToken.None);
        return _hash is null ? null : new IdleHash(_state.Fence, _algorithm, _hash);
    }

    private int PartBytes() => PartSize(_parts.Count);

    // Grows by doubling, up to a part.
    private void Grow(int needed)
    {
        var size = Math.Min(Math.Max(needed, FirstBuffer), PartBytes());
        if (_buffer.Length >= size)
        {
            return;
        }

        var larger = ArrayPool<byte>.Shared.Rent(size);
        _buffer.AsSpan(0, _filled).CopyTo(larger);
        Return(_buffer);
        _buffer = larger;
    }

    // Gives the buffer away as soon as the one before it is stored.
    private async Task SendAsync()
    {
        await SentAsync();
        if (_parts.Count >= StagedUploads.MaxParts)
        {
            throw new OciException(
                ErrorCodes.BlobUploadInvalid,
                $"this upload came in {StagedUploads.MaxParts} pieces, which is the limit; begin again with larger chunks"
            );
        }

        _state ??= await _rows.CreateAsync(_id, CancellationToken.None);
        var (buffer, filled) = (_buffer, _filled);
        (_buffer, _filled) = ([], 0);
        _sending = StoreAsync(buffer, filled);
    }

    private async Task StoreAsync(byte[] buffer, int filled)
    {
        try
        {
            var ordinal = _parts.Count;
            var part = new StagedPart(ordinal, S3BlobStore.Key(_id, ordinal, _state!.Fence), filled);
            await _bucket.PutAsync(part.Key, buffer.AsMemory(0, filled), CancellationToken.None);
            await _rows.AddAsync(_id, _state.Fence, part, CancellationToken.None);
            _parts.Add(part);
        }
        finally
        {
            Return(buffer);
        }
    }

    private async Task SentAsync()
    {
        try
        {
            await _sending;
        }
        catch
        {
            // Only what is stored counts.
            _sending = Task.CompletedTask;
            _filled = 0;
            Length = _parts.Sum(part => part.Size);
            _hash?.Dispose();
            (_hash, _digest) = (null, null);
            throw;
        }
    }

    private async Task<IncrementalHash> RehashAsync(CancellationToken cancel)
    {
        await SentAsync();
        var hash = Digest.Start(_algorithm);
        var buffer = ArrayPool<byte>.Shared.Rent(FirstBuffer);
        try
        {
            foreach (var part in _parts)
            {
                await using var content =
                    await _bucket.OpenAsync(part.Key, 0, long.MaxValue, cancel)
                    ?? throw new InvalidDataException($"the object {part.Key} of an upload is not in the bucket");
                for (int read; (read = await content.ReadAsync(buffer, cancel)) > 0; )
                {
                    hash.AppendData(buffer, 0, read);
                }
            }

            hash.AppendData(_buffer, 0, _filled);
            return hash;
        }
        catch
        {
            hash.Dispose();
            throw;
        }
        finally
        {
            Return(buffer);
        }
    }

    private static void Return(byte[] buffer)
    {
        if (buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
