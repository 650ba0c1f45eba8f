using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Everything that the checks of the distribution specification see, broken once.</summary>
internal static class StoreMutations
{
    private const string Uploads = "/blobs/uploads/$";
    private const string Upload = "/blobs/uploads/.";
    private const string Blob = "/blobs/sha(256|512):";
    private const string Manifest = "/manifests/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new("ping is not there", "store.ping", "GET", "^/v2/$", e => e.Answer(404)),
        new(
            "an upload begins with 200",
            "store.upload-put",
            "POST",
            Uploads,
            e => Status(e, !Has(e, "mount") && e.Status == 202, 200)
        ),
        new(
            "the last request of an upload gets 200",
            "store.upload-put store.upload-chunked store.upload-streamed store.mount-unknown store.blob-sha512",
            "PUT",
            Upload,
            e => Status(e, e.Status == 201, 200)
        ),
        new(
            "one request pushes nothing",
            "store.upload-post",
            "POST",
            Uploads,
            e => Swallow(e, Has(e, "digest="), 201, "/v2/")
        )
        {
            OnRequest = true,
        },
        new(
            "the answer to a whole blob has no Location",
            "store.upload-post",
            "POST",
            Uploads,
            e => Without(e, "Location", Has(e, "digest="))
        ),
        new(
            "a chunk gets 201",
            "store.upload-chunked",
            "PATCH",
            Upload,
            e => Status(e, e.Status == 202 && e.RequestHeaders.ContainsKey("Content-Range"), 201)
        ),
        new("a chunk's answer counts wrong", "store.upload-chunked", "PATCH", Upload, e => Header(e, "Range", "0-17")),
        new(
            "a chunk from elsewhere is taken",
            "store.upload-out-of-order",
            "PATCH",
            Upload,
            e => Status(e, e.Status == 416, 202)
        ),
        new(
            "the state of an upload gets 200",
            "store.upload-status",
            "GET",
            Upload,
            e => Status(e, e.Status == 204, 200)
        ),
        new("the state of an upload has no Range", "store.upload-status", "GET", Upload, e => Without(e, "Range")),
        new(
            "bodies without a length are refused",
            "store.upload-streamed",
            "PATCH",
            Upload,
            e => AnswerIf(e, !e.RequestHeaders.ContainsKey("Content-Length"), 411)
        ),
        new("a canceled upload goes on", "store.upload-cancel", "GET", Upload, e => Status(e, e.Status == 404, 204)),
        new("canceling gets 200", "store.upload-cancel", "DELETE", Upload, e => Status(e, e.Status == 204, 200)),
        new("any digest is taken", "store.upload-bad-digest", "PUT", Upload, e => Status(e, e.Status == 400, 201)),
        new(
            "a pushed blob is said to be elsewhere",
            "store.upload-location",
            "PUT",
            Upload,
            e => Header(e, "Location", "/v2/elsewhere/blobs/sha256:0")
        ),
        new(
            "a pushed blob has another digest",
            "store.upload-location",
            "PUT",
            Upload,
            e => Header(e, "Docker-Content-Digest", "sha256:0")
        ),
        new(
            "a mount gets 200",
            "store.mount store.mount-anonymous",
            "POST",
            Uploads,
            e => Status(e, Has(e, "mount") && e.Status == 201, 200)
        ),
        new(
            "a mounted blob is said to be elsewhere",
            "store.mount",
            "POST",
            Uploads,
            e => Header(e, "Location", "/v2/elsewhere/blobs/sha256:0", Has(e, "from=") && e.Status == 201)
        ),
        new(
            "what cannot be mounted is said to be",
            "store.mount-unknown",
            "POST",
            Uploads,
            e => Status(e, Has(e, "mount") && e.Status == 202, 201)
        ),
        new(
            "an anonymous mount gets 200",
            "store.mount-anonymous",
            "POST",
            Uploads,
            e => Status(e, Has(e, "mount") && !Has(e, "from=") && e.Status == 201, 200)
        ),
        new(
            "blobs lose their last byte",
            "store.upload-put store.upload-post store.upload-chunked store.upload-streamed store.upload-location store.mount store.mount-anonymous store.blob-get store.blob-sha512",
            "GET",
            Blob,
            e => Shorten(e, e.Status == 200)
        ),
        new(
            "blobs have another digest",
            "store.blob-get store.blob-sha512",
            "GET",
            Blob,
            e => Header(e, "Docker-Content-Digest", "sha256:0")
        ),
        new("HEAD of a blob is not there", "store.blob-head", "HEAD", Blob, e => Status(e, e.Status == 200, 404)),
        new("HEAD of a blob says no size", "store.blob-head", "HEAD", Blob, e => Without(e, "Content-Length")),
        new(
            "a blob that is not there gets 400",
            "store.blob-unknown store.blob-other-repository",
            "GET",
            Blob,
            e => Status(e, e.Status == 404, 400)
        ),
        new(
            "a blob is in every repository",
            "store.blob-other-repository",
            "GET",
            "/b" + Blob,
            e => Status(e, e.Status == 404, 200)
        ),
        new("a part of a blob is another part", "store.blob-range", "GET", Blob, e => Shorten(e, e.Status == 206)),
        new("a part of a blob does not say which", "store.blob-range", "GET", Blob, e => Without(e, "Content-Range")),
        new(
            "a part that is not there gets 400",
            "store.blob-range-beyond",
            "GET",
            Blob,
            e => Status(e, e.Status == 416, 400)
        ),
        new(
            "the empty blob is not empty",
            "store.blob-empty",
            "GET",
            Blob,
            e => AnswerIf(e, e.Body.Length == 0, 200, "x")
        ),
        new("a blob by SHA-512 is not there", "store.blob-sha512", "GET", "/blobs/sha512:", e => e.Answer(404)),
        new(
            "errors have no list",
            "store.errors",
            "GET",
            Manifest,
            e => AnswerIf(e, e.Status == 404, 404, """{"error":"none"}""")
        ),
        new(
            "errors have a code of no specification",
            "store.errors",
            "GET",
            Manifest,
            e => AnswerIf(e, e.Status == 404, 404, """{"errors":[{"code":"OTHER"}]}""")
        ),
        new(
            "a manifest by digest gets 200",
            "store.manifest-put-digest store.manifest-artifact",
            "PUT",
            Manifest + "sha256",
            e => Status(e, e.Status == 201, 200)
        ),
        new(
            "a manifest's push says no Location",
            "store.manifest-put-digest store.manifest-put-tag",
            "PUT",
            Manifest,
            e => Without(e, "Location")
        ),
        new(
            "a manifest by tag gets 200",
            "store.manifest-put-tag store.manifest-index store.recipe",
            "PUT",
            Manifest + "t",
            e => Status(e, e.Status == 201, 200)
        ),
        new(
            "a pushed manifest has another digest",
            "store.manifest-put-tag",
            "PUT",
            Manifest + "t",
            e => Header(e, "Docker-Content-Digest", "sha256:0")
        ),
        new(
            "a tag of several is not named",
            "store.manifest-put-tags",
            "PUT",
            Manifest,
            e => Header(e, "OCI-Tag", "other")
        ),
        new(
            "any manifest's digest is taken",
            "store.manifest-bad-digest",
            "PUT",
            Manifest,
            e => Status(e, e.Status == 400, 201)
        ),
        new(
            "manifests by tag have another byte",
            "store.manifest-put-tags store.manifest-get-tag store.recipe",
            "GET",
            Manifest + "t",
            e => Shorten(e, e.Status == 200)
        ),
        new(
            "manifests by digest have another byte",
            "store.manifest-put-digest store.manifest-put-tag store.manifest-get-digest store.manifest-index store.manifest-artifact",
            "GET",
            Manifest + "sha256",
            e => Shorten(e, e.Status == 200)
        ),
        new(
            "manifests by tag are just JSON",
            "store.manifest-get-tag store.recipe",
            "GET",
            Manifest + "t",
            e => Header(e, "Content-Type", "application/json")
        ),
        new(
            "manifests by digest are just JSON",
            "store.manifest-get-digest store.manifest-index store.manifest-artifact",
            "GET",
            Manifest + "sha256",
            e => Header(e, "Content-Type", "application/json")
        ),
        new(
            "HEAD of a manifest says no size",
            "store.manifest-head",
            "HEAD",
            Manifest,
            e => Without(e, "Content-Length")
        ),
        new(
            "a manifest that is not there gets 400",
            "store.manifest-unknown store.errors",
            "GET",
            Manifest,
            e => Status(e, e.Status == 404, 400)
        ),
        new(
            "an index is refused",
            "store.manifest-index",
            "PUT",
            Manifest,
            e => AnswerIf(e, e.RequestText.Contains("\"manifests\"", StringComparison.Ordinal), 400)
        ),
        new(
            "unknown members are refused",
            "store.manifest-artifact",
            "PUT",
            Manifest,
            e => AnswerIf(e, e.RequestText.Contains("org.example.member", StringComparison.Ordinal), 400)
        ),
        new(
            "recipes are refused",
            "store.recipe",
            "PUT",
            Manifest,
            e => AnswerIf(e, e.RequestText.Contains("supercontainers.build.recipe", StringComparison.Ordinal), 400)
        ),
        new(
            "tags are not in order",
            "store.tags",
            "GET",
            "/tags/list",
            e => EditIf(e, !Has(e, "n="), json => Reverse(json["tags"]!.AsArray()))
        ),
        new(
            "tags are of another repository",
            "store.tags",
            "GET",
            "/tags/list",
            e => e.Edit(json => json["name"] = "other")
        ),
        new(
            "a page of tags is too long",
            "store.tags-page",
            "GET",
            "/tags/list",
            e =>
            {
                e.Query = e.Query.Replace("n=2", "n=3", StringComparison.Ordinal);
            }
        )
        {
            OnRequest = true,
        },
        new("a page of tags has no next", "store.tags-page", "GET", "/tags/list", e => Without(e, "Link")),
        new("a push with a subject does not say so", "store.subject", "PUT", Manifest, e => Without(e, "OCI-Subject")),
        new(
            "referrers are not listed",
            "store.referrers",
            "GET",
            "/referrers/",
            e => EditIf(e, !Has(e, "artifactType"), json => json["manifests"] = new JsonArray())
        ),
        new(
            "referrers have no annotations",
            "store.referrers",
            "GET",
            "/referrers/",
            e =>
                EditIf(
                    e,
                    !Has(e, "artifactType"),
                    json => json["manifests"]!.AsArray().ToList().ForEach(m => m!.AsObject().Remove("annotations"))
                )
        ),
        new(
            "referrers of nothing are not JSON of an index",
            "store.referrers store.referrers-none",
            "GET",
            "/referrers/",
            e => Header(e, "Content-Type", "application/json")
        ),
        new(
            "nobody refers to it, and is listed",
            "store.referrers-none",
            "GET",
            "/referrers/",
            e =>
                EditIf(
                    e,
                    e.Text.Contains("[]", StringComparison.Ordinal),
                    json => json["manifests"]!.AsArray().Add(new JsonObject())
                )
        ),
        new("the filter does not filter", "store.referrers-filter", "GET", "/referrers/", e => e.Query = "")
        {
            OnRequest = true,
            Then = e => e.Headers["OCI-Filters-Applied"] = "artifactType",
        },
        new("a deleted tag is there", "store.delete-tag", "DELETE", Manifest + "t", e => Swallow(e, true, 202))
        {
            OnRequest = true,
        },
        new(
            "a deleted manifest is there",
            "store.delete-manifest",
            "DELETE",
            Manifest + "sha256",
            e => Swallow(e, true, 202)
        )
        {
            OnRequest = true,
        },
        new("a deleted blob is there", "store.delete-blob", "DELETE", Blob, e => Swallow(e, true, 202))
        {
            OnRequest = true,
        },
        new(
            "deleting gets 200",
            "store.delete-tag store.delete-manifest store.delete-blob",
            "DELETE",
            "/(manifests|blobs)/[st]",
            e => Status(e, e.Status == 202, 200)
        ),
    ];
}
