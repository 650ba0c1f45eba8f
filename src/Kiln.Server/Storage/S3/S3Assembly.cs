using System.Collections.Concurrent;
using Amazon.S3.Model;

namespace Kiln.Server.Storage.S3;

/// <summary>
/// Makes one object of an upload's objects and what is left in its buffer. The store copies by itself what is large enough
/// to be a part; the rest, and all of it where the store cannot, goes through this process, in pieces of 16 MiB at most
/// where uploads are below 16 GB.
/// </summary>
internal sealed class S3Assembly(
    S3Bucket bucket,
    string key,
    IReadOnlyList<StagedPart> staged,
    ReadOnlyMemory<byte> rest
)
{
    // "Each part must be at least 5 MB in size, except the last part" (Amazon S3, "UploadPart").
    private const int LeastPart = 5 << 20;
    private const int Parallel = 4;

    /// <summary>Runs it; the object is there when this returns, whole.</summary>
    /// <param name="begun">Told of the multipart upload, before it has parts.</param>
    public async Task RunAsync(Func<string, string, Task> begun, CancellationToken cancel)
    {
        if (staged.Count == 0)
        {
            await bucket.PutAsync(key, rest, cancel);
            return;
        }

        if (staged.Count == 1 && rest.IsEmpty)
        {
            await bucket.CopyAsync(staged[0].Key, key, cancel);
            return;
        }

        var pieces = Plan(staged, !rest.IsEmpty);
        if (pieces.Count == 1)
        {
            await bucket.PutAsync(key, await ReadAsync(pieces[0], isLast: true, cancel), cancel);
            return;
        }

        var multipart = await bucket.BeginAsync(key, cancel);
        try
        {
            await begun(key, multipart);
            var parts = await MakeAsync(pieces, multipart, cancel);
            await bucket.CompleteAsync(key, multipart, parts, cancel);
        }
        catch
        {
            await bucket.AbandonAsync(key, multipart, CancellationToken.None);
            throw;
        }
    }

    /// <summary>Which objects become a part together. The last part gets what is left in the buffer as well.</summary>
    internal static List<List<StagedPart>> Plan(IReadOnlyList<StagedPart> staged, bool hasRest)
    {
        var pieces = new List<List<StagedPart>>();
        var small = new List<StagedPart>();
        foreach (var part in staged)
        {
            small.Add(part);
            if (small.Sum(p => p.Size) >= LeastPart)
            {
                pieces.Add(small);
                small = [];
            }
        }

        if (small.Count > 0 || hasRest)
        {
            pieces.Add(small);
        }

        return pieces;
    }

    private async Task<List<PartETag>> MakeAsync(
        List<List<StagedPart>> pieces,
        string multipart,
        CancellationToken cancel
    )
    {
        var parts = new ConcurrentDictionary<int, PartETag>();
        var copies = pieces.Index().Where(p => IsCopy(pieces, p.Index)).ToList();
        await System.Threading.Tasks.Parallel.ForEachAsync(
            copies,
            new ParallelOptions { MaxDegreeOfParallelism = Parallel, CancellationToken = cancel },
            async (piece, stop) =>
            {
                var number = piece.Index + 1;
                if (await bucket.CopyPartAsync(piece.Item[0].Key, key, multipart, number, stop) is { } part)
                {
                    parts[number] = part;
                }
            }
        );
        foreach (var (index, piece) in pieces.Index())
        {
            if (!parts.ContainsKey(index + 1))
            {
                var content = await ReadAsync(piece, index == pieces.Count - 1, cancel);
                parts[index + 1] = await bucket.PartAsync(key, multipart, index + 1, content, cancel);
            }
        }

        return [.. parts.Values.OrderBy(part => part.PartNumber)];
    }

    private bool IsCopy(List<List<StagedPart>> pieces, int index) =>
        pieces[index].Count == 1 && (index < pieces.Count - 1 || rest.IsEmpty);

    private async Task<ReadOnlyMemory<byte>> ReadAsync(List<StagedPart> piece, bool isLast, CancellationToken cancel)
    {
        var content = new byte[piece.Sum(part => part.Size) + (isLast ? rest.Length : 0)];
        var filled = 0;
        foreach (var part in piece)
        {
            await using var stream =
                await bucket.OpenAsync(part.Key, 0, long.MaxValue, cancel)
                ?? throw new InvalidDataException($"the object {part.Key} of an upload is not in the bucket");
            await stream.ReadExactlyAsync(content.AsMemory(filled, (int)part.Size), cancel);
            filled += (int)part.Size;
        }

        if (isLast)
        {
            rest.CopyTo(content.AsMemory(filled));
        }

        return content;
    }
}
