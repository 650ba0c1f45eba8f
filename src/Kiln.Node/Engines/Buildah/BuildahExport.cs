using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Takes an image out of a build's store: an OCI layout in which every layer that is known already has an empty
/// placeholder named by its diff ID, so that buildah writes and compresses the new layers only.
/// </summary>
internal sealed class BuildahExport(EngineTask task, bool compress)
{
    private const int MaxJson = 8 << 20;

    // What image-spec, config.md, has; Docker's own members (container_config, docker_version …) describe the build
    // container, not the image.
    private const string OwnIdStart = "FROM ";
    private const int OwnIdLength = 12;

    private static readonly string[] ConfigMembers =
    [
        "created",
        "author",
        "architecture",
        "variant",
        "os",
        "os.version",
        "os.features",
        "config",
        "rootfs",
        "history",
    ];

    private static readonly string[] RuntimeMembers =
    [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
    ];

    /// <summary>What the jail's exit code is where the image could not be taken out.</summary>
    public const int Failed = 251;

    // The image id was written by the build, so it is only believed once it has the form of one.
    private const string Script = """
        id=$(head -c 80 /build/iid)
        exec buildah push -q --format v2s2 OPTIONS -- "${id#sha256:}" oci:/out:product 2>&1 >/dev/null
        """;

    /// <summary>What the build's jail needs, so that the image is taken out right after it was built.</summary>
    public IReadOnlyList<JailBind> Prepare(IReadOnlyDictionary<string, PublishedLayer> known)
    {
        var script = Path.Combine(task.Directory, "export.sh");
        // What is to be written anew need not be compressed before.
        var isLast = compress && task.Task.Compression is (null or OutputFormats.Gzip);
        var options = isLast ? "" : "--disable-compression";
        File.WriteAllText(script, Script.Replace("OPTIONS", options, StringComparison.Ordinal));
        return [new JailBind(PrepareLayout(known), "/out"), new JailBind(script, "/then")];
    }

    /// <summary>Reads what the jail left.</summary>
    /// <exception cref="EngineException">It is not an image.</exception>
    public EngineResult Read(
        IReadOnlyDictionary<string, PublishedLayer> known,
        FetchedBase? finalBase,
        Func<string, string> display
    )
    {
        var build = new UntrustedTree(Path.Combine(task.Directory, "build"));
        var image = Encoding.UTF8.GetString(
            build.Read(200, "iid") ?? throw new EngineException("the build left no image id")
        );
        return Digest.TryParse(image.Trim(), out var id)
            ? Read(new UntrustedTree(Path.Combine(task.Directory, "out")), id, known, display) with
            {
                Base = finalBase,
            }
            : throw new EngineException("the build left something that is no image id");
    }

    private string PrepareLayout(IReadOnlyDictionary<string, PublishedLayer> known)
    {
        var layout = Path.Combine(task.Directory, "out");
        var blobs = Directory.CreateDirectory(Path.Combine(layout, "blobs", "sha256")).FullName;
        File.WriteAllText(Path.Combine(layout, "oci-layout"), """{"imageLayoutVersion":"1.0.0"}""");
        File.WriteAllText(Path.Combine(layout, "index.json"), """{"schemaVersion":2,"manifests":[]}""");
        foreach (var diffId in known.Keys)
        {
            File.Create(Path.Combine(blobs, Digest.Parse(diffId).Encoded)).Dispose();
        }

        return layout;
    }

    private static EngineResult Read(
        UntrustedTree layout,
        Digest image,
        IReadOnlyDictionary<string, PublishedLayer> known,
        Func<string, string> display
    )
    {
        var index = JsonSerializer.Deserialize(Json(layout, "index.json"), NodeJson.Default.ImageIndex)!;
        var manifest = JsonSerializer.Deserialize(
            Blob(layout, index.Manifests[^1].Digest),
            NodeJson.Default.ImageManifest
        )!;
        var config = JsonNode.Parse(Blob(layout, image))!.AsObject();
        var diffIds = DiffIds(config);
        // Of an image without files buildah writes null.
        var exported = (IReadOnlyList<Descriptor>?)manifest.Layers ?? [];
        if (diffIds.Count != exported.Count)
        {
            throw new EngineException($"the image has {diffIds.Count} diff ids but {exported.Count} layers");
        }

        var layers = diffIds.Zip(exported, (diffId, layer) => Layer(layout, diffId, layer, known)).ToList();
        return new EngineResult { Config = Encoding.UTF8.GetBytes(display(Clean(config))), Layers = layers };
    }

    private static List<Digest> DiffIds(JsonObject config)
    {
        if (config["rootfs"]!["diff_ids"] is JsonArray array)
        {
            return [.. array.Select(d => Digest.Parse(d!.GetValue<string>()))];
        }

        config["rootfs"]!["diff_ids"] = new JsonArray();
        return [];
    }

    private static EngineLayer Layer(
        UntrustedTree layout,
        Digest diffId,
        Descriptor layer,
        IReadOnlyDictionary<string, PublishedLayer> known
    )
    {
        if (known.TryGetValue(diffId.ToString(), out var published))
        {
            return new EngineLayer(diffId, published, null, published.Blob.MediaType);
        }

        Stream Open() =>
            layout.Open("blobs", "sha256", layer.Digest.Encoded)
            ?? throw new EngineException($"the layer {layer.Digest} is not in the layout");
        return new EngineLayer(diffId, null, Open, MediaTypes.OciLayerGzip);
    }

    private static string Clean(JsonObject config)
    {
        Keep(config, ConfigMembers);
        if (config["config"] is JsonObject runtime)
        {
            Keep(runtime, RuntimeMembers);
        }

        foreach (var step in (config["history"] as JsonArray ?? []).OfType<JsonObject>())
        {
            // Ids of buildah's own, which nobody else knows and which are others with each build.
            if (step["comment"] is JsonValue comment && comment.TryGetValue<string>(out var text) && IsOwnId(text))
            {
                step.Remove("comment");
            }
        }

        return config.ToJsonString();
    }

    private static bool IsOwnId(string comment) =>
        comment.StartsWith(OwnIdStart, StringComparison.Ordinal)
        && comment.Length == OwnIdStart.Length + OwnIdLength
        && comment[OwnIdStart.Length..].All(char.IsAsciiHexDigitLower);

    private static void Keep(JsonObject json, string[] members)
    {
        foreach (var name in json.Select(m => m.Key).Except(members, StringComparer.Ordinal).ToList())
        {
            json.Remove(name);
        }

        foreach (var name in json.Where(m => m.Value is null).Select(m => m.Key).ToList())
        {
            json.Remove(name);
        }
    }

    private static byte[] Blob(UntrustedTree layout, Digest digest)
    {
        var bytes =
            layout.Read(MaxJson, "blobs", digest.Algorithm, digest.Encoded)
            ?? throw new EngineException($"{digest} is not in the exported layout");
        return Digest.Of(bytes, digest.Algorithm) == digest
            ? bytes
            : throw new EngineException($"{digest} has other bytes than its name says");
    }

    private static byte[] Json(UntrustedTree layout, string name) =>
        layout.Read(MaxJson, name) ?? throw new EngineException($"the exported layout has no {name}");
}
