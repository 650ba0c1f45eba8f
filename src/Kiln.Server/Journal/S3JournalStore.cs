using Amazon.S3.Model;
using Kiln.Server.Storage.S3;
using S3Bucket = Kiln.Server.Storage.S3.S3Bucket;

namespace Kiln.Server.Journal;

/// <summary>Segments as objects <c>journal/…</c> of the bucket. An object cannot grow: each batch is one.</summary>
internal sealed class S3JournalStore(S3Bucket bucket) : IJournalStore
{
    private const string Prefix = "journal/";

    // Of a snapshot; S3 takes 10,000 of them at most.
    private const int PartBytes = 16 << 20;

    public bool CanAppend => false;

    public async Task<IReadOnlyList<(JournalSegment Segment, long Size)>> ListAsync(CancellationToken cancel)
    {
        var segments = new List<(JournalSegment, long)>();
        await foreach (var (key, _, size) in bucket.ListAsync(Prefix, cancel))
        {
            if (JournalSegment.Parse(key[Prefix.Length..]) is { } segment)
            {
                segments.Add((segment, size));
            }
        }

        return segments;
    }

    public Task AppendAsync(JournalSegment segment, ReadOnlyMemory<byte> bytes, CancellationToken cancel) =>
        bucket.PutAsync(Prefix + segment.Name, bytes, cancel);

    public async Task PutAsync(JournalSegment segment, string file, CancellationToken cancel)
    {
        var key = Prefix + segment.Name;
        await using var stream = File.OpenRead(file);
        var buffer = new byte[(int)Math.Min(PartBytes, Math.Max(stream.Length, 1))];
        if (stream.Length <= PartBytes)
        {
            await stream.ReadExactlyAsync(buffer.AsMemory(0, (int)stream.Length), cancel);
            await bucket.PutAsync(key, buffer.AsMemory(0, (int)stream.Length), cancel);
            return;
        }

        var multipart = await bucket.BeginAsync(key, cancel);
        try
        {
            var parts = new List<PartETag>();
            for (int read; (read = await stream.ReadAtLeastAsync(buffer, PartBytes, false, cancel)) > 0; )
            {
                parts.Add(await bucket.PartAsync(key, multipart, parts.Count + 1, buffer.AsMemory(0, read), cancel));
            }

            await bucket.CompleteAsync(key, multipart, parts, cancel);
        }
        catch
        {
            await bucket.AbandonAsync(key, multipart, CancellationToken.None);
            throw;
        }
    }

    public async Task<Stream> OpenAsync(JournalSegment segment, CancellationToken cancel) =>
        await bucket.OpenAsync(Prefix + segment.Name, 0, long.MaxValue, cancel)
        ?? throw new FileNotFoundException($"the journal's segment {segment.Name} is gone");

    public async Task<string?> SetAsideAsync(string mark, CancellationToken cancel)
    {
        var segments = await ListAsync(cancel);
        var aside = $"{Prefix.TrimEnd('/')}.aside-{mark}/";
        foreach (var (segment, _) in segments)
        {
            await bucket.CopyAsync(Prefix + segment.Name, aside + segment.Name, cancel);
        }

        // Only once all are there: broken off, nothing is lost and it is begun again.
        foreach (var (segment, _) in segments)
        {
            await bucket.DeleteAsync(Prefix + segment.Name, cancel);
        }

        return segments.Count > 0 ? aside : null;
    }

    public Task DeleteAsync(JournalSegment segment, CancellationToken cancel) =>
        bucket.DeleteAsync(Prefix + segment.Name, cancel);
}
