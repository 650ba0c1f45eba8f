using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Store;

/// <summary>Deleting (distribution-spec, "Content Management"). A registry may refuse all of it with 400 or 405.</summary>
internal static class DeleteChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("store.delete-tag", "a deleted tag is gone, its manifest is not", "end-9", TagAsync),
        new("store.delete-manifest", "a deleted manifest is gone, and its tags with it", "end-9", ManifestAsync),
        new("store.delete-blob", "a deleted blob is gone", "end-10", BlobAsync),
    ];

    private static async Task TagAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var manifest = await session.PushArtifactAsync(tag);
        await DeleteAsync(session, $"manifests/{tag}");
        (await session.HeadAsync(session.At($"manifests/{tag}"))).Must(404);
        (await session.HeadAsync(session.At($"manifests/{manifest.Digest}"))).Must(200);
    }

    private static async Task ManifestAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var manifest = await session.PushArtifactAsync(tag);
        await DeleteAsync(session, $"manifests/{manifest.Digest}");
        (await session.HeadAsync(session.At($"manifests/{manifest.Digest}"))).Must(404);
        (await session.HeadAsync(session.At($"manifests/{tag}"))).Must(404);
    }

    private static async Task BlobAsync(Session session)
    {
        var blob = await session.PushAsync(Content.ItemOf(Content.Random(64)));
        await DeleteAsync(session, $"blobs/{blob.Digest}");
        (await session.HeadAsync(session.At($"blobs/{blob.Digest}"))).Must(404);
    }

    private static async Task DeleteAsync(Session session, string path)
    {
        var answer = await session.DeleteAsync(session.At(path));
        if (answer.Status is 400 or 405)
        {
            throw new UnsupportedException($"the registry refuses it: {answer.Status}");
        }

        answer.Must(202);
    }
}
