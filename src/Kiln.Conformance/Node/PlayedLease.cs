using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Node;

/// <summary>A lease, with what a node does under it.</summary>
internal sealed class PlayedLease
{
    private static readonly string[] PlatformMembers = ["os", "architecture", "variant"];
    private readonly Session _session;
    private readonly Uri _address;

    /// <exception cref="SkippedException">The answer to the claim has no address or no credential.</exception>
    public PlayedLease(Session session, Answer claimed)
    {
        _session = session;
        try
        {
            Document = JsonNode.Parse(claimed.Body) ?? throw new SkippedException("the lease is null");
            Token = Document.Member("auth").Text("token");
            _address = claimed.Location;
        }
        catch (Exception e) when (e is CheckFailedException or JsonException)
        {
            throw new SkippedException($"a lease is needed first: {e.Message}");
        }
    }

    public JsonNode Document { get; }
    public JsonNode Task => Document.Member("task");
    public string Token { get; }
    public string Address => _address.AbsoluteUri;

    /// <summary>Sends with the lease's credential.</summary>
    public Task<Answer> SendAsync(Call call) => _session.SendAsync(call with { Authorization = "Bearer " + Token });

    public Task<Answer> BeatAsync(JsonObject? words = null) =>
        SendAsync(new Call("PATCH", Address).WithJson(words ?? []));

    public Task<Answer> GiveBackAsync() => SendAsync(new Call("DELETE", Address));

    public Task<Answer> LogAsync(long start, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        return SendAsync(
            new Call("PATCH", Address + "/log")
                .WithBody(bytes, "text/plain")
                .With("Content-Range", $"{start}-{start + bytes.Length - 1}")
        );
    }

    public Task<Answer> ResultAsync(JsonNode result) =>
        SendAsync(new Call("PUT", Address + "/result").WithJson(result));

    public static JsonObject Failed(string reason = "recipe-error", bool retryable = false) =>
        new()
        {
            ["state"] = "failed",
            ["reason"] = reason,
            ["message"] = "RUN make exited 2",
            ["exitCode"] = 2,
            ["retryable"] = retryable,
        };

    public static JsonObject Canceled() => new() { ["state"] = "canceled" };

    public static JsonObject Succeeded(Item manifest) =>
        new()
        {
            ["state"] = "succeeded",
            ["manifest"] = manifest.Descriptor,
            ["resolvedDependencies"] = new JsonArray(),
        };

    /// <summary>Pushes an image and reports it, where that is not what the check is about.</summary>
    public async Task<Item> SucceedAsync(string content = "hello")
    {
        var image = await PushImageAsync(content);
        (await ResultAsync(Succeeded(image))).Needed("a result");
        return image;
    }

    public async Task FailAsync() => (await ResultAsync(Failed())).Needed("a result");

    /// <summary>Pushes an image of one layer into the staging area; its manifest, pushed by its digest.</summary>
    public async Task<Item> PushImageAsync(
        string content = "hello",
        int owner = 0,
        string? platform = null,
        string? diffId = null,
        string? reference = null
    )
    {
        var tar = Content.Tar(Content.File("hello", content, owner));
        var layer = Content.ItemOf(Content.Gzip(tar), Types.LayerGzip);
        return await PushImageAsync(layer, diffId ?? Content.Sha256(tar), platform, reference);
    }

    public async Task<Item> PushImageAsync(Item layer, string diffId, string? platform = null, string? reference = null)
    {
        (await PushBlobAsync(layer)).Needed("a staged blob");
        var config = Content.ItemOf(ConfigOf(diffId, platform).Bytes(), Types.Config);
        (await PushBlobAsync(config)).Needed("a staged blob");
        var manifest = Content.ItemOf(Content.Manifest(config, layer).Bytes(), Types.Manifest);
        (await PutManifestAsync(manifest, reference ?? manifest.Digest)).Needed("a staged manifest");
        return manifest;
    }

    public async Task<Answer> PushBlobAsync(Item blob)
    {
        var begun = await SendAsync(new Call("POST", $"/v2/{Repository}/blobs/uploads/") { Body = [] });
        return begun.IsSuccess
            ? await SendAsync(
                new Call("PUT", Content.WithQuery(begun.Location, "digest", blob.Digest)).WithBody(
                    blob.Bytes,
                    Types.OctetStream
                )
            )
            : begun;
    }

    public Task<Answer> PutManifestAsync(Item manifest, string reference) =>
        SendAsync(
            new Call("PUT", $"/v2/{Repository}/manifests/{reference}").WithBody(manifest.Bytes, manifest.MediaType)
        );

    public string Repository => _session.Repository;

    private JsonObject ConfigOf(string diffId, string? platform)
    {
        var parts = (platform ?? PlatformOf(Task.Member("platform"))).Split('/');
        var config = new JsonObject
        {
            ["os"] = parts[0],
            ["architecture"] = parts[1],
            ["author"] = Session.Unique(),
            ["rootfs"] = new JsonObject { ["type"] = "layers", ["diff_ids"] = new JsonArray(diffId) },
        };
        if (parts.Length > 2)
        {
            config["variant"] = parts[2];
        }

        return config;
    }

    /// <summary>A platform is an object or a string.</summary>
    private static string PlatformOf(JsonNode platform) =>
        platform is JsonObject
            ? string.Join('/', PlatformMembers.Select(platform.MaybeText).OfType<string>())
            : platform.GetValue<string>();
}
