using System.Buffers;
using System.Collections.Concurrent;
using Microsoft.AspNetCore.Connections;

namespace Kiln.Server.Http;

/// <summary>
/// The memory that requests and answers pass through on their way to the sockets. A receive fills one block: with the web
/// server's own of 4 KiB, a layer of 64 MiB is 16,000 calls of the kernel. Beyond a fixed number, blocks are small, so that
/// thousands of slow clients hold no more than they did.
/// </summary>
internal sealed class ConnectionBlocks : MemoryPool<byte>, IMemoryPoolFactory<byte>
{
    /// <summary>Bytes of a large block.</summary>
    public const int Large = 32 << 10;

    /// <summary>Large blocks at one time: 16 MiB.</summary>
    public const int MaxLarge = 512;

    // What is kept when nothing goes on: 1 MiB.
    private const int MaxKept = 32;
    private const int Small = 4 << 10;

    private readonly ConcurrentQueue<Block> _kept = new();
    private int _large;

    public override int MaxBufferSize => Large;

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => this;

    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, Large);
        if (Interlocked.Increment(ref _large) <= MaxLarge || minBufferSize > Small)
        {
            return _kept.TryDequeue(out var block) ? block : new Block(this);
        }

        Interlocked.Decrement(ref _large);
        return Shared.Rent(Small);
    }

    // One for all connections, which outlives each of them.
    protected override void Dispose(bool disposing) { }

    private void Return(Block block)
    {
        Interlocked.Decrement(ref _large);
        if (_kept.Count < MaxKept)
        {
            _kept.Enqueue(block);
        }
    }

    private sealed class Block(ConnectionBlocks pool) : IMemoryOwner<byte>
    {
        // Where it is: a socket that waits for data would pin it anyway, in the middle of what the collector moves.
        private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(Large, pinned: true);

        public Memory<byte> Memory => _bytes;

        public void Dispose() => pool.Return(this);
    }
}
