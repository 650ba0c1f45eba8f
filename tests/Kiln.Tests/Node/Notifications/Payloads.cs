using Kiln.Oci;

namespace Kiln.Tests.Node.Notifications;

/// <summary>
/// Notifications in the form that registries send, each with the members that its documentation shows (docs/guide/notifications.md
/// says where).
/// </summary>
internal static class Payloads
{
    /// <summary>An envelope: the push of a blob, a pull, and the push of a manifest.</summary>
    public static string Distribution(string host, string repository, string? tag, Digest digest, string id) =>
        $$"""
            { "events": [
              { "id": "blob", "timestamp": "2026-11-28T20:00:00Z", "action": "push",
                "target": { "mediaType": "application/octet-stream", "size": 2, "digest": "{{digest}}", "length": 2, "repository": "{{repository}}",
                            "url": "http://{{host}}/v2/{{repository}}/blobs/{{digest}}" },
                "request": { "id": "a", "addr": "127.0.0.1:1", "host": "{{host}}", "method": "PUT", "useragent": "oras/1.2" } },
              { "id": "pull", "timestamp": "2026-11-28T20:00:00Z", "action": "pull",
                "target": { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "{{digest}}", "repository": "{{repository}}" },
                "request": { "id": "b", "host": "{{host}}", "method": "GET" } },
              { "id": "{{id}}", "timestamp": "2026-11-28T20:00:00.4Z", "action": "push",
                "target": { "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 500, "digest": "{{digest}}", "length": 500,
                            "repository": "{{repository}}", "url": "http://{{host}}/v2/{{repository}}/manifests/{{digest}}"
                            {{(tag is null ? "" : $", \"tag\": \"{tag}\"")}} },
                "request": { "id": "c", "addr": "127.0.0.1:1", "host": "{{host}}", "method": "PUT", "useragent": "oras/1.2" },
                "actor": {}, "source": { "addr": "registry:5000", "instanceID": "a53db899-3b4b-4a62-a067-8dd013beaca4" } }
            ] }
            """;

    public static string Harbor(string host, string repository, string? tag, Digest digest) =>
        $$"""
            { "type": "PUSH_ARTIFACT", "occur_at": 1680501893, "operator": "alice", "event_data": {{HarborData(
                host,
                repository,
                tag,
                digest
            )}} }
            """;

    public static string HarborCloudEvent(string host, string repository, string? tag, Digest digest, string id) =>
        $$"""
            { "specversion": "1.0", "id": "{{id}}", "requestid": "51c0b694-0168-4f3c-b0db-282565455d7b", "source": "/projects/2/webhook/policies/15",
              "type": "harbor.artifact.pushed", "datacontenttype": "application/json", "time": "2026-11-28T20:00:00Z",
              "data": {{HarborData(host, repository, tag, digest)}}, "operator": "alice" }
            """;

    public static string Quay(string host, string repository, string tag) =>
        $$"""
            { "name": "{{repository.Split('/')[^1]}}", "repository": "{{repository}}", "namespace": "{{repository.Split(
                '/'
            )[0]}}",
              "docker_url": "{{host}}/{{repository}}", "homepage": "https://{{host}}/repository/{{repository}}", "updated_tags": ["{{tag}}"] }
            """;

    /// <summary>As Quay sent it once: the tags are names, with ids.</summary>
    public static string OldQuay(string host, string repository, string tag) =>
        Quay(host, repository, tag)
            .Replace($"[\"{tag}\"]", $"{{ \"{tag}\": \"b750fe79269d\" }}", StringComparison.Ordinal);

    public static string Hub(string repository, string tag) =>
        $$"""
            { "callback_url": "http://127.0.0.1:1/must-not-be-called/", "push_data": { "pushed_at": 1417566161, "pusher": "alice", "tag": "{{tag}}" },
              "repository": { "comment_count": 0, "date_created": 1417494799, "description": "", "is_official": false, "is_private": true,
                "name": "{{repository.Split('/')[^1]}}", "namespace": "{{repository.Split('/')[
                0
            ]}}", "owner": "alice", "repo_name": "{{repository}}",
                "repo_url": "https://hub.docker.com/r/{{repository}}", "star_count": 0, "status": "Active" } }
            """;

    private static string HarborData(string host, string repository, string? tag, Digest digest) =>
        $$"""
            { "resources": [ { "digest": "{{digest}}", "tag": "{{tag ?? digest.ToString()}}",
                "resource_url": "{{host}}/{{repository}}{{(tag is null ? $"@{digest}" : $":{tag}")}}" } ],
              "repository": { "date_created": 1677053165, "name": "{{repository.Split('/')[
                ^1
            ]}}", "namespace": "{{repository.Split('/')[0]}}",
                "repo_full_name": "{{repository}}", "repo_type": "private" } }
            """;
}
