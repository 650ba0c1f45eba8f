using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Deriving;

/// <summary>Holds what is written while something is made of an image within what this node's disk may lose to it.</summary>
/// <param name="directory">On the disk in question.</param>
internal sealed class DiskGuard(BuildLimits limits, string directory)
{
    // Bytes that are written between two looks at the disk.
    private const int Step = 16 << 20;

    /// <summary>What goes to a file: no more of it than one build may write.</summary>
    public Stream Bound(Stream file) => new GuardedStream(this, file, limits.DiskBytes);

    /// <summary>What goes to a program, which writes about as much.</summary>
    public Stream Watch(Stream program) => new GuardedStream(this, program, long.MaxValue);

    /// <summary>A file is larger than one build may write.</summary>
    public DerivationException TooLarge() =>
        new($"a file would be larger than the {limits.DiskBytes} bytes that one build may use on this node")
        {
            IsLimit = true,
        };

    // Another node may have the room, and so may this one later: nothing that the image is to blame for.
    private void Look()
    {
        if (new DriveInfo(directory).AvailableFreeSpace < limits.FreeDiskFloorBytes)
        {
            throw new IOException(
                $"the build node's disk has less than {LimitWatcher.Size(limits.FreeDiskFloorBytes)} left"
            );
        }
    }

    private sealed class GuardedStream(DiskGuard guard, Stream to, long most) : SinkStream
    {
        private long _count;
        private long _looked = -Step;

        public override void Flush() => to.Flush();

        public override Task FlushAsync(CancellationToken cancellationToken) => to.FlushAsync(cancellationToken);

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            Count(buffer.Length);
            to.Write(buffer);
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Count(buffer.Length);
            return to.WriteAsync(buffer, cancellationToken);
        }

        private void Count(int count)
        {
            _count += count;
            if (_count > most)
            {
                throw guard.TooLarge();
            }

            if (_count - _looked >= Step)
            {
                _looked = _count;
                guard.Look();
            }
        }
    }
}
