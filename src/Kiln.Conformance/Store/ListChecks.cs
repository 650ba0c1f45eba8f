using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Store;

/// <summary>Tags and referrers (distribution-spec, "Content Discovery").</summary>
internal static class ListChecks
{
    private const string SignatureType = "application/vnd.example.signature";
    private static readonly string[] Ends = ["a", "b", "c", "d"];
    private const string SbomType = "application/vnd.example.sbom";

    public static IReadOnlyList<Check> All { get; } =
    [
        new("store.tags", "the tags of a repository are listed in order", "end-8a", TagsAsync),
        new("store.tags-page", "n and last give a part of the list", "end-8b", PageAsync),
        new("store.subject", "who refers to another manifest is told that it was understood", "end-7a", SubjectAsync),
        new("store.referrers", "manifests that refer to one are listed", "end-12a", ReferrersAsync),
        new("store.referrers-none", "nobody refers to it: an empty list", "end-12a", NoReferrersAsync),
        new("store.referrers-filter", "referrers of one type only", "end-12b", FilterAsync),
    ];

    private static async Task TagsAsync(Session session)
    {
        var (tags, prefix) = await PushTagsAsync(session);
        var answer = (await session.GetAsync(session.At("tags/list"))).Must(200);
        var list = answer.Json();
        list.MustHave("name", session.Repository);
        var own = list.Texts("tags").Where(tag => tag.StartsWith(prefix, StringComparison.Ordinal)).ToList();
        if (!own.SequenceEqual(tags, StringComparer.Ordinal))
        {
            throw answer.Failure($"lists {string.Join(", ", own)}, not {string.Join(", ", tags)} in this order");
        }
    }

    private static async Task PageAsync(Session session)
    {
        var (tags, _) = await PushTagsAsync(session);
        var first = (await session.GetAsync(session.At($"tags/list?n=2&last={tags[0]}"))).Must(200);
        var page = first.Json().Texts("tags");
        if (!page.SequenceEqual(tags.Skip(1).Take(2), StringComparer.Ordinal))
        {
            throw first.Failure($"lists {string.Join(", ", page)}, not the two after {tags[0]}");
        }

        var next = first.MustHave("Link");
        var rest = (await session.GetAsync(Links.Next(first, next))).Needed("the next page");
        if (rest.Json().Texts("tags") is var more && (more.Count == 0 || more[0] != tags[3]))
        {
            throw rest.Failure($"begins at {string.Join(", ", more)}, not at {tags[3]}");
        }
    }

    private static async Task SubjectAsync(Session session)
    {
        var subject = await session.PushArtifactAsync();
        var (_, pushed) = await ReferAsync(session, subject, SignatureType);
        if (pushed.Header("OCI-Subject") is null && await HasNoReferrersAsync(session, subject))
        {
            throw new UnsupportedException("the registry has no referrers");
        }

        pushed.MustHave("OCI-Subject", subject.Digest);
    }

    private static async Task ReferrersAsync(Session session)
    {
        var subject = await session.PushArtifactAsync();
        var (referrer, _) = await ReferAsync(session, subject, SignatureType);
        if (await HasNoReferrersAsync(session, subject))
        {
            throw new UnsupportedException("the registry has no referrers");
        }

        var answer = (await session.GetAsync(session.At($"referrers/{subject.Digest}"))).Must(200).MustBe(Types.Index);
        var entries = EntriesOf(answer);
        if (entries.Count != 1)
        {
            throw answer.Failure($"lists {entries.Count} manifests, not the one that refers to it");
        }

        entries[0].MustHave("digest", referrer.Digest);
        entries[0].MustHave("mediaType", Types.Manifest);
        entries[0].MustHave("artifactType", SignatureType);
        entries[0].Member("annotations").MustHave("org.example.conformance", "yes");
        if (entries[0].Number("size") != referrer.Bytes.Length)
        {
            throw answer.Failure($"says a size of {entries[0].Number("size")}, not {referrer.Bytes.Length}");
        }
    }

    private static async Task NoReferrersAsync(Session session)
    {
        var nobody = Content.ItemOf(Content.Random(8));
        if (await HasNoReferrersAsync(session, nobody))
        {
            throw new UnsupportedException("the registry has no referrers");
        }

        var answer = (await session.GetAsync(session.At($"referrers/{nobody.Digest}"))).Must(200).MustBe(Types.Index);
        if (EntriesOf(answer).Count != 0)
        {
            throw answer.Failure("lists manifests");
        }
    }

    private static async Task FilterAsync(Session session)
    {
        var subject = await session.PushArtifactAsync();
        await ReferAsync(session, subject, SignatureType);
        var (sbom, _) = await ReferAsync(session, subject, SbomType);
        var answer = await session.GetAsync(
            session.At($"referrers/{subject.Digest}?artifactType={Uri.EscapeDataString(SbomType)}")
        );
        if (answer.Status == 404 || (answer.IsSuccess && answer.Header("OCI-Filters-Applied") is null))
        {
            throw new UnsupportedException("the registry does not filter");
        }

        answer.Must(200).MustHave("OCI-Filters-Applied", "artifactType");
        if (EntriesOf(answer) is var entries && entries.Count != 1)
        {
            throw answer.Failure($"lists {entries.Count} manifests, not the one of the type");
        }

        entries[0].MustHave("digest", sbom.Digest);
    }

    private static async Task<bool> HasNoReferrersAsync(Session session, Item subject) =>
        (await session.GetAsync(session.At($"referrers/{subject.Digest}"))).Status == 404;

    private static IReadOnlyList<JsonNode?> EntriesOf(Answer answer)
    {
        var index = answer.Json();
        index.MustHave("mediaType", Types.Index);
        return index.Number("schemaVersion") == 2
            ? index.Items("manifests")
            : throw answer.Failure("is no index of schema version 2");
    }

    private static async Task<(Item Manifest, Answer Pushed)> ReferAsync(Session session, Item subject, string type)
    {
        var config = await session.PushAsync(Content.ItemOf("{}", Types.Empty));
        var manifest = Content.Manifest(config, config);
        manifest["artifactType"] = type;
        manifest["subject"] = subject.Descriptor;
        manifest["annotations"] = new JsonObject
        {
            ["org.example.conformance"] = "yes",
            ["org.example.id"] = Session.Unique(),
        };
        var item = Content.ItemOf(manifest.Bytes(), Types.Manifest);
        return (item, (await session.PutManifestAsync(item, item.Digest)).Needed("a pushed referrer"));
    }

    private static async Task<(IReadOnlyList<string> Tags, string Prefix)> PushTagsAsync(Session session)
    {
        var prefix = $"l{Session.Unique()}-";
        var manifest = await session.PushArtifactAsync();
        var tags = Ends.Select(end => prefix + end).ToList();
        foreach (var tag in tags.AsEnumerable().Reverse())
        {
            (await session.PutManifestAsync(manifest, tag)).Needed("a tag");
        }

        return (tags, prefix);
    }
}
