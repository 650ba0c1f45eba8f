using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Client.Registry;

namespace Kiln.Node.Remote;

/// <summary>What a node says under one lease: with that lease's credential, and where its log goes on.</summary>
internal sealed class LeaseSession : IDisposable
{
    // Below what a registry takes in one piece.
    private const int PieceBytes = 1 << 20;

    private long? _sent;
    private bool _full;

    public LeaseSession(RegistryClientOptions options)
    {
        Content = new RegistryClient(options);
        Words = new LeaseClient(Content);
    }

    /// <summary>Pulls and pushes.</summary>
    public RegistryClient Content { get; }

    /// <summary>The lease protocol itself.</summary>
    public LeaseClient Words { get; }

    /// <summary>
    /// Sends what comes next in the log. After a fault the same may come again with more behind it: what the registry has
    /// of that already is not sent twice.
    /// </summary>
    public async Task AppendAsync(string host, Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel)
    {
        var start = _sent ??= await Words.ReceivedAsync(host, lease, cancel);
        for (var at = 0; at < text.Length && !_full; )
        {
            var piece = text.Slice(at, Math.Min(PieceBytes, text.Length - at));
            var answer = await Words.AppendLogAsync(host, lease, start + at, piece, cancel);
            _full = answer.Full;
            var known = answer.Received - start;
            if (!answer.Took && (known <= at || known > text.Length))
            {
                // The registry has lost some of it, which nobody can make up for; the build is worth more than its log.
                _full = true;
                break;
            }

            at = answer.Took ? at + piece.Length : (int)known;
        }

        _sent = start + text.Length;
    }

    public void Dispose() => Content.Dispose();
}
