using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Store;

/// <summary>Pulling blobs (distribution-spec, "Pull").</summary>
internal static class PullChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("store.blob-get", "a blob is pulled as it was pushed", "end-2", GetAsync),
        new("store.blob-head", "HEAD of a blob says its size and nothing more", "end-2", HeadAsync),
        new("store.blob-unknown", "a blob that is not there gets 404", "end-2", UnknownAsync),
        new("store.blob-other-repository", "a blob is in its own repository only", "end-2", OtherAsync),
        new("store.blob-range", "a part of a blob is pulled", "end-2", RangeAsync),
        new("store.blob-range-beyond", "a part that is not there gets 416", "end-2", BeyondAsync),
        new("store.blob-empty", "a blob of no bytes", "end-2 end-6", EmptyAsync),
        new("store.blob-sha512", "a blob by its SHA-512", "end-2 end-6", Sha512Async),
        new("store.errors", "an error in JSON has the form of the specification", "errors", ErrorsAsync),
    ];

    private static async Task GetAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(2048)));
        var answer = (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Must(200).MustEqual(blob.Bytes);
        if (answer.Header("Docker-Content-Digest") is not null)
        {
            answer.MustHave("Docker-Content-Digest", blob.Digest);
        }
    }

    private static async Task HeadAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(300)));
        (await session.HeadAsync(session.At($"blobs/{blob.Digest}"))).Must(200).MustHave("Content-Length", "300");
    }

    private static async Task UnknownAsync(Session session)
    {
        var digest = Content.Sha256(Content.Random(8));
        (await session.GetAsync(session.At($"blobs/{digest}"))).Must(404);
        (await session.HeadAsync(session.At($"blobs/{digest}"))).Must(404);
    }

    private static async Task OtherAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(64)));
        (await session.GetAsync($"/v2/{session.Other}/blobs/{blob.Digest}")).Must(404);
    }

    private static async Task RangeAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(2048)));
        foreach (
            var (asked, from, to) in new[]
            {
                ("500-1499", 500, 1499),
                ("500-", 500, 2047),
                ("-500", 1548, 2047),
                ("2000-5000", 2000, 2047),
            }
        )
        {
            var answer = await AskAsync(session, blob, asked);
            if (answer.Status == 200)
            {
                throw new UnsupportedException("the registry gives the whole blob");
            }

            answer.Must(206).MustEqual(blob.Bytes.AsSpan(from, to - from + 1));
            var range = answer.MustHave("Content-Range");
            if (range != $"bytes {from}-{to}/2048" && range != $"bytes {from}-{to}/*")
            {
                throw answer.Failure($"has Content-Range: {range}, not bytes {from}-{to}/2048");
            }
        }
    }

    private static async Task BeyondAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(2048)));
        var answer = await AskAsync(session, blob, "5000-10000");
        if (answer.Status == 200)
        {
            throw new UnsupportedException("the registry gives the whole blob");
        }

        answer.Must(416);
    }

    private static async Task EmptyAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf([]));
        (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Must(200).MustEqual([]);
    }

    private static async Task Sha512Async(Session session)
    {
        var bytes = Content.Random(128);
        var blob = new Item(Types.OctetStream, Content.Sha512(bytes), bytes);
        var begun = (
            await session.SendAsync(
                new Call("POST", session.At("blobs/uploads/?digest-algorithm=sha512")) { Body = [] }
            )
        ).Needed("an upload");
        var pushed = await session.SendAsync(
            new Call("PUT", Content.WithQuery(begun.Location, "digest", blob.Digest)).WithBody(bytes, Types.OctetStream)
        );
        if (pushed.Status == 400)
        {
            throw new UnsupportedException("the registry refuses the digest");
        }

        pushed.Must(201);
        var answer = (await session.GetAsync(session.At($"blobs/{blob.Digest}"))).Must(200).MustEqual(bytes);
        if (answer.Header("Docker-Content-Digest") is not null)
        {
            answer.MustHave("Docker-Content-Digest", blob.Digest);
        }
    }

    private static async Task ErrorsAsync(Session session)
    {
        var answer = (await session.GetAsync(session.At($"manifests/none-{Session.Unique()}"))).Must(404);
        if (answer.MediaType != "application/json")
        {
            throw new UnsupportedException("errors are not in JSON here");
        }

        if (answer.MustBeEnvelope() is var code and not ("MANIFEST_UNKNOWN" or "NAME_UNKNOWN" or "NOT_FOUND"))
        {
            throw answer.Failure($"has the code {code}, not MANIFEST_UNKNOWN");
        }
    }

    private static Task<Answer> AskAsync(Session session, Item blob, string range) =>
        session.SendAsync(new Call("GET", session.At($"blobs/{blob.Digest}")).With("Range", $"bytes={range}"));
}
