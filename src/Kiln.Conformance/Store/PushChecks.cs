using System.Globalization;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Store;

/// <summary>Pushing blobs (distribution-spec, "Push").</summary>
internal static class PushChecks
{
    private const int ChunkBytes = 2048;

    public static IReadOnlyList<Check> All { get; } =
    [
        new("store.ping", "the registry says that it is one", "end-1", PingAsync),
        new("store.upload-put", "a blob is pushed in two requests", "end-4a end-6", PutAsync),
        new("store.upload-post", "a blob is pushed in one request", "end-4b", PostAsync),
        new("store.upload-chunked", "a blob is pushed in chunks", "end-5 end-6", ChunkedAsync),
        new("store.upload-out-of-order", "a chunk that is not the next one gets 416", "end-5", OutOfOrderAsync),
        new("store.upload-status", "an upload says how far it is", "end-13", StatusAsync),
        new("store.upload-streamed", "a blob is pushed without saying its length", "end-5 end-6", StreamedAsync),
        new("store.upload-cancel", "an upload is given up", "end-14", CancelAsync),
        new("store.upload-bad-digest", "bytes of another digest are refused", "end-6", BadDigestAsync),
        new("store.upload-location", "the address of a pushed blob gives it", "end-6", LocationAsync),
        new("store.mount", "a blob of another repository is mounted", "end-11", MountAsync),
        new("store.mount-unknown", "what cannot be mounted can be uploaded", "end-11", MountUnknownAsync),
        new("store.mount-anonymous", "a blob is mounted without saying from where", "end-11", MountAnonymousAsync),
    ];

    private static async Task PingAsync(Session session) => (await session.GetAsync("/v2/")).Must(200);

    private static async Task PutAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Must(202);
        var blob = Content.ItemOf(Content.Random(512));
        (await FinishAsync(session, begun.Location, blob)).Must(201).MustHave("Location");
        (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Needed("the blob").MustEqual(blob.Bytes);
    }

    private static async Task PostAsync(Session session)
    {
        var blob = Content.ItemOf(Content.Random(512));
        var pushed = await session.SendAsync(
            new Call("POST", session.At($"blobs/uploads/?digest={blob.Digest}")).WithBody(blob.Bytes, Types.OctetStream)
        );
        if (pushed.Status == 202)
        {
            throw new UnsupportedException("the registry wants a second request");
        }

        pushed.Must(201).MustHave("Location");
        (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Must(200).MustEqual(blob.Bytes);
    }

    private static async Task ChunkedAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var size = await ChunkSizeAsync(begun);
        var blob = Content.ItemOf(Content.Random(size + 100));
        var first = (await ChunkAsync(session, begun.Location, blob.Bytes[..size], 0)).Must(202);
        MustBeAt(first, size);
        var second = (await ChunkAsync(session, first.Location, blob.Bytes[size..], size)).Must(202);
        MustBeAt(second, size + 100);
        var end = await session.SendAsync(
            new Call("PUT", Content.WithQuery(second.Location, "digest", blob.Digest)) { Body = [] }
        );
        end.Must(201);
        (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Needed("the blob").MustEqual(blob.Bytes);
    }

    private static async Task OutOfOrderAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var size = await ChunkSizeAsync(begun);
        var bytes = Content.Random(size);
        var first = (await ChunkAsync(session, begun.Location, bytes, 0)).Needed("a chunk");
        (await ChunkAsync(session, first.Location, bytes, size + 1)).Must(416);
        (await ChunkAsync(session, first.Location, bytes, 0)).Must(416);
    }

    private static async Task StatusAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var size = await ChunkSizeAsync(begun);
        var first = (await ChunkAsync(session, begun.Location, Content.Random(size), 0)).Needed("a chunk");
        var status = (await session.GetAsync(first.Location.AbsoluteUri)).Must(204);
        MustBeAt(status, size);
        status.MustHave("Location");
    }

    private static async Task StreamedAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var blob = Content.ItemOf(Content.Random(5000));
        var sent = await session.SendAsync(
            new Call("PATCH", begun.Location.AbsoluteUri).WithBody(blob.Bytes, Types.OctetStream) with
            {
                Streamed = true,
            }
        );
        sent.Must(202);
        var end = await session.SendAsync(
            new Call("PUT", Content.WithQuery(sent.Location, "digest", blob.Digest)) { Body = [] }
        );
        end.Must(201);
        (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Needed("the blob").MustEqual(blob.Bytes);
    }

    private static async Task CancelAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var canceled = await session.DeleteAsync(begun.Location.AbsoluteUri);
        if (canceled.Status is 404 or 405)
        {
            throw new UnsupportedException($"DELETE of an upload gets {canceled.Status}");
        }

        canceled.Must(204);
        (await session.GetAsync(begun.Location.AbsoluteUri)).Must(404);
    }

    private static async Task BadDigestAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var blob = Content.ItemOf(Content.Random(64)) with { Bytes = Content.Random(64) };
        (await FinishAsync(session, begun.Location, blob)).Must(400);
        (await session.HeadAsync(session.At($"blobs/{blob.Digest}"))).Must(404);
    }

    private static async Task LocationAsync(Session session)
    {
        var begun = (await BeginAsync(session)).Needed("an upload");
        var blob = Content.ItemOf(Content.Random(64));
        var pushed = (await FinishAsync(session, begun.Location, blob)).Needed("a pushed blob");
        if (pushed.Header("Docker-Content-Digest") is not null)
        {
            pushed.MustHave("Docker-Content-Digest", blob.Digest);
        }

        (await session.GetAsync(pushed.Location.AbsoluteUri)).Must(200).MustEqual(blob.Bytes);
    }

    private static async Task MountAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(64)), session.Other);
        var mounted = await session.SendAsync(
            new Call("POST", session.At($"blobs/uploads/?mount={blob.Digest}&from={session.Other}")) { Body = [] }
        );
        if (mounted.Status == 202)
        {
            throw new UnsupportedException("the registry wants the blob to be uploaded");
        }

        mounted.Must(201);
        (await session.GetAsync(mounted.Location.AbsoluteUri)).Must(200).MustEqual(blob.Bytes);
    }

    private static async Task MountUnknownAsync(Session session)
    {
        var blob = Content.ItemOf(Content.Random(64));
        var begun = await session.SendAsync(
            new Call("POST", session.At($"blobs/uploads/?mount={blob.Digest}&from={session.Other}")) { Body = [] }
        );
        begun.Must(202);
        (await FinishAsync(session, begun.Location, blob)).Must(201);
    }

    private static async Task MountAnonymousAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(64)), session.Other);
        var mounted = await session.SendAsync(
            new Call("POST", session.At($"blobs/uploads/?mount={blob.Digest}")) { Body = [] }
        );
        if (mounted.Status == 202)
        {
            throw new UnsupportedException("the registry wants the blob to be uploaded");
        }

        mounted.Must(201);
        (await session.GetAsync(mounted.Location.AbsoluteUri)).Must(200).MustEqual(blob.Bytes);
    }

    private static Task<Answer> BeginAsync(Session session) =>
        session.SendAsync(new Call("POST", session.At("blobs/uploads/")) { Body = [] });

    private static Task<Answer> FinishAsync(Session session, Uri location, Item blob) =>
        session.SendAsync(
            new Call("PUT", Content.WithQuery(location, "digest", blob.Digest)).WithBody(blob.Bytes, Types.OctetStream)
        );

    private static Task<Answer> ChunkAsync(Session session, Uri location, byte[] bytes, long start) =>
        session.SendAsync(
            new Call("PATCH", location.AbsoluteUri)
                .WithBody(bytes, Types.OctetStream)
                .With("Content-Range", $"{start}-{start + bytes.Length - 1}")
        );

    /// <summary>What the registry asks for with <c>OCI-Chunk-Min-Length</c>, or a size of our own.</summary>
    private static Task<int> ChunkSizeAsync(Answer begun)
    {
        var text = begun.Header("OCI-Chunk-Min-Length");
        if (text is null)
        {
            return Task.FromResult(ChunkBytes);
        }

        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var least))
        {
            throw begun.Failure($"has OCI-Chunk-Min-Length: {text}, which is no number");
        }

        return least <= 8 << 20
            ? Task.FromResult(Math.Max(least, ChunkBytes))
            : throw new SkippedException($"chunks would need {least} bytes");
    }

    private static void MustBeAt(Answer answer, long bytes)
    {
        var range = answer.MustHave("Range");
        if (range != $"0-{bytes - 1}")
        {
            throw answer.Failure($"has Range: {range}, not 0-{bytes - 1}");
        }
    }
}
