using System.Runtime.InteropServices;
using System.Threading.Channels;

namespace Kiln.Cli.Progress;

/// <summary>Catches Ctrl-C and SIGTERM while it lives, so that a command can decide what they mean.</summary>
internal sealed class Interrupts : IDisposable
{
    private readonly Channel<PosixSignal> _signals = Channel.CreateUnbounded<PosixSignal>();
    private readonly PosixSignalRegistration _interrupt;
    private readonly PosixSignalRegistration _terminate;

    public Interrupts()
    {
        _interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Caught);
        _terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Caught);
    }

    /// <summary>The next signal.</summary>
    public ValueTask<PosixSignal> NextAsync(CancellationToken cancel) => _signals.Reader.ReadAsync(cancel);

    public void Dispose()
    {
        _interrupt.Dispose();
        _terminate.Dispose();
    }

    private void Caught(PosixSignalContext context)
    {
        context.Cancel = true;
        _signals.Writer.TryWrite(context.Signal);
    }
}
