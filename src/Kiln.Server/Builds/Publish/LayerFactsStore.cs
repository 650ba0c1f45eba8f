using System.Collections.Concurrent;
using System.Threading.Channels;
using Kiln.Inspect;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// What is known of layers. Each is read once in this registry's life: in the background as soon as a build names it,
/// or when a product has to be judged.
/// </summary>
internal sealed class LayerFactsStore(Database database, IBlobStore store) : BackgroundService
{
    // A base has some ten layers; what does not fit is read when it is asked for.
    private readonly Channel<Digest> _warm = Channel.CreateBounded<Digest>(
        new BoundedChannelOptions(256) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true }
    );
    private readonly ConcurrentDictionary<Digest, Lazy<Task<LayerFacts?>>> _reading = new();
    private readonly CancellationTokenSource _stop = new();

    /// <summary>Has a blob read in the background; one that turns out to be no layer is remembered as such.</summary>
    public void Warm(Digest digest) => _warm.Writer.TryWrite(digest);

    /// <summary>The facts of a layer; null where its blob cannot be read as one.</summary>
    public async Task<LayerFacts?> GetAsync(Digest digest, CancellationToken cancel)
    {
        if (Stored(digest) is { } packed)
        {
            return packed.Length == 0 ? null : LayerFacts.Unpack(packed);
        }

        // Whoever comes second waits for the first one's reading, which no request's end breaks off.
        var reading = _reading.GetOrAdd(digest, d => new Lazy<Task<LayerFacts?>>(() => ReadAsync(d)));
        return await reading.Value.WaitAsync(cancel);
    }

    /// <summary>Ends readings under way: the database closes after this.</summary>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stop.CancelAsync();
        await base.StopAsync(cancellationToken);
        await Task.WhenAll(_reading.Values.Select(reading => reading.Value))
            .ContinueWith(_ => { }, TaskScheduler.Default);
    }

    public override void Dispose()
    {
        _stop.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await foreach (var digest in _warm.Reader.ReadAllAsync(stoppingToken))
            {
                if (Stored(digest) is null)
                {
                    await GetAsync(digest, stoppingToken);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops; what was not read is read when it is asked for.
        }
    }

    private byte[]? Stored(Digest digest) =>
        database.Read(c =>
            c.Scalar<byte[]>("SELECT facts FROM layer_facts WHERE digest = @digest", ("digest", digest.ToString()))
        );

    private async Task<LayerFacts?> ReadAsync(Digest digest)
    {
        await Task.Yield();
        try
        {
            await using var blob = await store.OpenAsync(digest, 0, _stop.Token);
            if (blob is null)
            {
                return null;
            }

            var (facts, _) = await LayerFacts.ReadAsync(blob, _stop.Token);
            await database.WriteAsync(
                transaction =>
                    transaction.Run(
                        "INSERT INTO layer_facts (digest, facts) VALUES (@digest, @facts) ON CONFLICT DO NOTHING",
                        ("digest", digest.ToString()),
                        ("facts", facts?.Pack() ?? [])
                    ),
                _stop.Token
            );
            return facts;
        }
        finally
        {
            _reading.TryRemove(digest, out _);
        }
    }
}
