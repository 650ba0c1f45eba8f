using System.Collections.Concurrent;
using System.Threading.Channels;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Client.Inspection;
using Kiln.Inspect;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// What is known of layers. Each is read once in this registry's life: in the background as soon as a build names it,
/// or when a product has to be judged.
/// </summary>
internal sealed partial class LayerFactsStore(Database database, IBlobStore store, ILogger<LayerFactsStore> log)
    : BackgroundService
{
    /// <summary>Files of all layers of an image that are measured at most; the largest images have half as many.</summary>
    public const int MaxEntries = 1_000_000;

    // Bytes of memory for the facts of one image.
    private const long MaxWeight = 512L << 20;
    private const int MaxRemembered = 100_000;

    // A base has some ten layers; what does not fit is read when it is asked for.
    private readonly Channel<(Digest Layer, TaskCompletionSource Done)> _warm = Channel.CreateBounded<(
        Digest,
        TaskCompletionSource
    )>(new BoundedChannelOptions(256) { SingleReader = true });
    private readonly ConcurrentDictionary<Digest, Lazy<Task<LayerReading>>> _reading = new();

    // What stands in the line, so that nothing stands there twice.
    private readonly ConcurrentDictionary<Digest, Task> _lined = new();

    private readonly ConcurrentDictionary<Digest, bool> _readable = new();

    // Facts of a large image take memory, and requests are many.
    private readonly SemaphoreSlim _one = new(1);
    private readonly CancellationTokenSource _stop = new();

    /// <summary>Has a blob read in the background.</summary>
    public void Warm(Digest digest) => TryWarm(digest, out _);

    /// <summary>
    /// Has a blob read in the background, when those asked for before are; one that turns out to be no layer is remembered
    /// as such.
    /// </summary>
    /// <param name="tried">When that was tried.</param>
    /// <returns>Whether there was room in the line.</returns>
    public bool TryWarm(Digest digest, out Task tried)
    {
        if (_lined.TryGetValue(digest, out var lined))
        {
            tried = lined;
            return true;
        }

        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        tried = _lined[digest] = done.Task;
        if (_warm.Writer.TryWrite((digest, done)))
        {
            return true;
        }

        _lined.TryRemove(digest, out _);
        return false;
    }

    /// <summary>
    /// Measures an image whose layers were read; one at a time where it is large.
    /// </summary>
    /// <param name="blobs">Lowest first.</param>
    /// <param name="image">The image of the layers.</param>
    /// <param name="known">Facts that the caller has already; those of other layers are looked up.</param>
    /// <returns>Null where a layer was not read or is none, or the image has more files than are measured.</returns>
    public async Task<(ImageHints InJob, HintsDocument Document)?> MeasureAsync(
        IReadOnlyList<Descriptor> blobs,
        Func<IReadOnlyList<(Descriptor, LayerFacts)>, MeasuredImage> image,
        Dictionary<Digest, LayerFacts> known,
        CancellationToken cancel
    )
    {
        await _one.WaitAsync(cancel);
        try
        {
            var read = new List<(Descriptor, LayerFacts)>(blobs.Count);
            var (weight, entries) = (known.Values.Sum(f => f.Weight), 0L);
            foreach (var blob in blobs)
            {
                // A manifest may name one layer thousands of times.
                if (!known.TryGetValue(blob.Digest, out var facts))
                {
                    facts = Stored(blob.Digest)?.Facts;
                    if (facts is null || (weight += facts.Weight) > MaxWeight)
                    {
                        return null;
                    }

                    known[blob.Digest] = facts;
                }

                if ((entries += facts.Entries.Count) > MaxEntries)
                {
                    return null;
                }

                read.Add((blob, facts));
            }

            return image(read).Judge();
        }
        finally
        {
            _one.Release();
        }
    }

    /// <summary>What is known of a layer.</summary>
    public async Task<LayerReading> GetAsync(Digest digest, CancellationToken cancel)
    {
        if (Stored(digest) is { } known)
        {
            return known;
        }

        // Whoever comes second waits for the first one's reading, which no request's end breaks off.
        var reading = _reading.GetOrAdd(digest, d => new Lazy<Task<LayerReading>>(() => ReadAsync(d)));
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
        _one.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await foreach (var (digest, done) in _warm.Reader.ReadAllAsync(stoppingToken))
            {
                await TryAsync(digest, stoppingToken);
                _lined.TryRemove(digest, out _);
                done.TrySetResult();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops; what was not read is read when it is asked for.
        }
    }

    // No layer, whatever it is, may end the registry: who needs its facts hears of the fault again.
    private async Task TryAsync(Digest digest, CancellationToken cancel)
    {
        try
        {
            await GetAsync(digest, cancel);
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogUnread(log, digest, e);
        }
    }

    /// <summary>
    /// Whether a layer that was read is one that can be measured; null where it was not read. What was read stays so: it is
    /// looked up once.
    /// </summary>
    public bool? IsReadable(Digest digest)
    {
        if (_readable.TryGetValue(digest, out var readable))
        {
            return readable;
        }

        if (Stored(digest) is not { } known)
        {
            return null;
        }

        if (_readable.Count >= MaxRemembered)
        {
            _readable.Clear();
        }

        return _readable[digest] = known.Facts is not null;
    }

    private LayerReading? Stored(Digest digest) =>
        database
            .Read(c =>
                c.Query(
                    "SELECT diff_id, facts FROM layer_facts WHERE digest = @digest",
                    row => (row.TextOrNull(0), row.GetFieldValue<byte[]>(1)),
                    ("digest", digest.ToString())
                )
            )
            .Select(row =>
            {
                var (diffId, packed) = row;
                var facts = packed.Length == 0 ? null : LayerFacts.Unpack(packed);
                // What an earlier program has read is read anew.
                return facts is null && packed.Length > 0
                    ? null
                    : new LayerReading(diffId is null ? null : Digest.Parse(diffId), facts);
            })
            .FirstOrDefault();

    private async Task<LayerReading> ReadAsync(Digest digest)
    {
        await Task.Yield();
        try
        {
            await using var blob = await store.OpenAsync(digest, 0, _stop.Token);
            if (blob is null)
            {
                return new LayerReading(null, null);
            }

            var (facts, diffId, _) = await LayerFacts.ReadAsync(blob, _stop.Token);
            await database.WriteAsync(
                transaction =>
                    transaction.Run(
                        """
                        INSERT INTO layer_facts (digest, diff_id, facts) VALUES (@digest, @diffId, @facts)
                        ON CONFLICT (digest) DO UPDATE SET diff_id = excluded.diff_id, facts = excluded.facts
                        """,
                        ("digest", digest.ToString()),
                        ("diffId", diffId?.ToString()),
                        ("facts", facts?.Pack() ?? [])
                    ),
                _stop.Token
            );
            return new LayerReading(diffId, facts);
        }
        finally
        {
            _reading.TryRemove(digest, out _);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The layer {Layer} could not be read")]
    private static partial void LogUnread(ILogger log, Digest layer, Exception exception);
}

/// <summary>What reading a layer told.</summary>
/// <param name="DiffId">Digest of its plain tar; null where it could not be read to its end.</param>
/// <param name="Facts">Null where it is no tar that can be judged.</param>
internal sealed record LayerReading(Digest? DiffId, LayerFacts? Facts);
