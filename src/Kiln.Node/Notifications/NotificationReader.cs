using System.Text.Json;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// Reads what registries send: distribution's envelope of events, Harbor's events in both its forms, Quay's and Docker
/// Hub's. Which of them it is shows in its members; what is no push is heard and comes to nothing.
/// </summary>
internal static class NotificationReader
{
    /// <summary>Events of one envelope, and tags of one event, that are looked at.</summary>
    public const int MaxEvents = 1000;

    private const int MaxDepth = 32;
    private const string HarborPush = "PUSH_ARTIFACT";
    private const string HarborPushEvent = "harbor.artifact.pushed";

    /// <summary>Reads a body.</summary>
    /// <param name="fault">Why it is none of those, as a sentence, where null is returned.</param>
    public static IReadOnlyList<Notification>? Read(ReadOnlyMemory<byte> body, out string? fault)
    {
        try
        {
            var options = new JsonDocumentOptions { MaxDepth = MaxDepth, AllowDuplicateProperties = false };
            using var document = JsonDocument.Parse(body, options);
            var found = Find(document.RootElement);
            fault = found is null
                ? "this is no notification of distribution, Harbor, Quay or Docker Hub that is known here"
                : null;
            return found is null ? null : [.. found.Take(MaxEvents)];
        }
        catch (JsonException)
        {
            fault = "the body is not JSON, or has a member twice";
        }
        catch (InvalidOperationException)
        {
            // What the reader says of an escape such as \ud800 without its other half.
            fault = "the body has a text that is not valid Unicode";
        }
        catch (FormatException e)
        {
            fault = e.Message;
        }

        return null;
    }

    private static List<Notification>? Find(JsonElement root) =>
        root.ValueKind != JsonValueKind.Object ? null
        : Member(root, "events") is { ValueKind: JsonValueKind.Array } events ? Distribution(events)
        : Member(root, "event_data") is { } data && Text(root, "type") is { } type
            ? Harbor(data, type == HarborPush, null)
        : Member(root, "specversion") is not null
        && Text(root, "type") is { } kind
        && kind.StartsWith("harbor.", StringComparison.Ordinal)
            ? Harbor(Member(root, "data") ?? default, kind == HarborPushEvent, Text(root, "id"))
        : Text(root, "docker_url") is { } url ? Quay(root, url)
        : Member(root, "push_data") is { ValueKind: JsonValueKind.Object } push ? Hub(root, push)
        : null;

    // distribution, notifications.md: an envelope of events of manifests and blobs, of pulls, pushes, mounts and deletions.
    private static List<Notification> Distribution(JsonElement events)
    {
        var found = new List<Notification>();
        foreach (var one in events.EnumerateArray().Take(MaxEvents))
        {
            if (
                Text(one, "action") != "push"
                || Member(one, "target") is not { } target
                || Text(target, "mediaType") is not { } type
                || !(MediaTypes.IsImageManifest(type) || MediaTypes.IsIndex(type))
            )
            {
                continue;
            }

            var host = Member(one, "request") is { } request ? Text(request, "host") : null;
            found.Add(
                new Notification(
                    host,
                    Repository(Text(target, "repository"), "events.target.repository"),
                    TagOf(Text(target, "tag")),
                    DigestOf(Text(target, "digest"), "events.target.digest"),
                    Text(one, "id")
                )
            );
        }

        return found;
    }

    // Harbor, "Configure Webhook Notifications": the same data stands in event_data, or as CloudEvent in data.
    private static List<Notification> Harbor(JsonElement data, bool isPush, string? id)
    {
        if (!isPush)
        {
            return [];
        }

        var name = Member(data, "repository") is { } repository ? Text(repository, "repo_full_name") : null;
        var resources = Member(data, "resources") is { ValueKind: JsonValueKind.Array } list
            ? list.EnumerateArray().Take(MaxEvents)
            : throw new FormatException("the notification of Harbor has no list 'resources'");
        return
        [
            .. resources.Select(
                (resource, at) =>
                    new Notification(
                        Reference.TryParse(Text(resource, "resource_url"), out var url) ? url.Host : null,
                        Repository(name, "repository.repo_full_name"),
                        // A push by digest has the digest here as well.
                        TagOf(Text(resource, "tag")),
                        DigestOf(Text(resource, "digest"), "resources.digest"),
                        id is null ? null : $"{id}/{at}"
                    )
            ),
        ];
    }

    // Quay, "Repository notifications", "Repository Push": a list of tags; in old ones an object whose names are the tags.
    private static List<Notification> Quay(JsonElement root, string url)
    {
        if (Member(root, "updated_tags") is not { } updated)
        {
            return [];
        }

        IEnumerable<string?> tags = updated.ValueKind switch
        {
            JsonValueKind.Array => updated
                .EnumerateArray()
                .Take(MaxEvents)
                .Select(t => t.ValueKind == JsonValueKind.String ? t.GetString() : null),
            JsonValueKind.Object => updated.EnumerateObject().Take(MaxEvents).Select(t => t.Name),
            _ => throw new FormatException("'updated_tags' is neither a list nor an object"),
        };
        var host = Reference.TryParse(url, out var place)
            ? place.Host
            : throw new FormatException("'docker_url' is no repository");
        var repository = Repository(Text(root, "repository"), "repository");
        return
        [
            .. tags.Select(tag => new Notification(
                host,
                repository,
                TagOf(tag) ?? throw new FormatException("'updated_tags' has something that is no tag"),
                Digest: null,
                Event: null
            )),
        ];
    }

    // Docker Hub, "Webhooks". Its callback_url is not called: whoever knows the address could have it lead anywhere.
    private static List<Notification> Hub(JsonElement root, JsonElement push)
    {
        var name = Member(root, "repository") is { } repository ? Text(repository, "repo_name") : null;
        var tag = TagOf(Text(push, "tag")) ?? throw new FormatException("'push_data.tag' is no tag");
        return
        [
            new Notification(
                Reference.DockerHub,
                Repository(name, "repository.repo_name"),
                tag,
                Digest: null,
                Event: null
            ),
        ];
    }

    private static RepositoryName Repository(string? text, string member) =>
        RepositoryName.TryParse(text, out var name) ? name : throw new FormatException($"'{member}' is no repository");

    private static Tag? TagOf(string? text) => Tag.TryParse(text, out var tag) ? tag : null;

    private static Digest? DigestOf(string? text, string member) =>
        text is null ? null
        : Digest.TryParse(text, out var digest) ? digest
        : throw new FormatException($"'{member}' is no digest");

    private static string? Text(JsonElement element, string name) =>
        Member(element, name) is { ValueKind: JsonValueKind.String } value && value.GetString() is { Length: > 0 } text
            ? text
            : null;

    private static JsonElement? Member(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) ? value : null;
}
