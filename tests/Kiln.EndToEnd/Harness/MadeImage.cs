using System.Formats.Tar;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace Kiln.EndToEnd.Harness;

/// <summary>
/// An image made by hand on busybox, entry by entry: who runs the tests may have no ids to give files to, and no right to make devices.
/// </summary>
internal sealed class MadeImage
{
    private const string Config = "application/vnd.oci.image.config.v1+json";
    private const string Layer = "application/vnd.oci.image.layer.v1.tar";
    private const string Manifest = "application/vnd.oci.image.manifest.v1+json";

    // capabilities(7), "File capability extended attribute versioning": version 2, effective, CAP_NET_RAW permitted.
    private static readonly string NetRaw = Encoding.ASCII.GetString([1, 0, 0, 2, 0, 0x20, .. new byte[14]]);

    private readonly MemoryStream _bytes = new();
    private readonly TarWriter _writer;
    private readonly byte[] _base;

    public MadeImage(Machine machine)
    {
        BaseImages.Busybox(machine);
        _base = File.ReadAllBytes(machine.In("images/busybox.tar"));
        _writer = new TarWriter(_bytes, TarEntryFormat.Pax, leaveOpen: true);
    }

    /// <summary>The <c>User</c> of its config.</summary>
    public string? User { get; init; }

    public MadeImage Text(string path, string content, string mode, int owner = 0) =>
        Add(TarEntryType.RegularFile, path, mode, owner, 0, Encoding.UTF8.GetBytes(content));

    /// <summary>Busybox under another path.</summary>
    public MadeImage Program(string path, string mode, int owner = 0) =>
        Add(TarEntryType.RegularFile, path, mode, owner, 0, File.ReadAllBytes("/bin/busybox"));

    /// <summary>The same with a file capability.</summary>
    public MadeImage Capable(string path) =>
        Add(TarEntryType.RegularFile, path, "755", 0, 0, File.ReadAllBytes("/bin/busybox"), NetRaw);

    public MadeImage Directory(string path, string mode, int owner = 0, int group = 0) =>
        Add(TarEntryType.Directory, path, mode, owner, group);

    public MadeImage Fifo(string path) => Add(TarEntryType.Fifo, path, "644", 0, 0);

    public MadeImage Device(string path) => Add(TarEntryType.CharacterDevice, path, "666", 0, 0);

    /// <summary>Pushes it; returns the reference.</summary>
    /// <param name="server">The registry.</param>
    /// <param name="name">Repository, and tag <c>1</c>.</param>
    /// <param name="script">What it does when it is run.</param>
    public async Task<string> PushAsync(Server server, string name, string script)
    {
        await _writer.DisposeAsync();
        byte[][] layers = [_base, _bytes.ToArray()];
        var config = new JsonObject
        {
            ["architecture"] = "amd64",
            ["os"] = "linux",
            ["config"] = new JsonObject { ["Cmd"] = new JsonArray("sh", "-c", script), [nameof(User)] = User ?? "" },
            // Charliecloud takes no config without one.
            ["history"] = new JsonArray([.. layers.Select(_ => new JsonObject { ["created_by"] = "by hand" })]),
            ["rootfs"] = new JsonObject
            {
                ["type"] = "layers",
                ["diff_ids"] = new JsonArray([.. layers.Select(l => JsonValue.Create(Digest(l)))]),
            },
        };
        var manifest = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = Manifest,
            ["config"] = await BlobAsync(server, name, Encoding.UTF8.GetBytes(config.ToJsonString()), Config),
            ["layers"] = new JsonArray(
                await BlobAsync(server, name, layers[0], Layer),
                await BlobAsync(server, name, layers[1], Layer)
            ),
        };
        using var content = new StringContent(
            manifest.ToJsonString(),
            new System.Net.Http.Headers.MediaTypeHeaderValue(Manifest)
        );
        using var answer = await server.Http.PutAsync($"/v2/{name}/manifests/1", content);
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        return $"{server.Host}/{name}:1";
    }

    private static async Task<JsonNode> BlobAsync(Server server, string name, byte[] bytes, string type)
    {
        using var content = new ByteArrayContent(bytes);
        using var answer = await server.Http.PostAsync($"/v2/{name}/blobs/uploads/?digest={Digest(bytes)}", content);
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        return new JsonObject
        {
            ["mediaType"] = type,
            ["digest"] = Digest(bytes),
            ["size"] = bytes.Length,
        };
    }

    private static string Digest(byte[] bytes) => $"sha256:{Convert.ToHexStringLower(SHA256.HashData(bytes))}";

    private MadeImage Add(
        TarEntryType type,
        string path,
        string mode,
        int owner,
        int group,
        byte[]? content = null,
        string? capability = null
    )
    {
        var attributes = new Dictionary<string, string>(StringComparer.Ordinal);
        if (capability is not null)
        {
            attributes["SCHILY.xattr.security.capability"] = capability;
        }

#pragma warning disable RS0030 // Extended attributes exist in pax only, and no digest of these archives matters.
        var entry = new PaxTarEntry(type, path, attributes)
#pragma warning restore RS0030
        {
            Mode = (UnixFileMode)Convert.ToInt32(mode, 8),
            Uid = owner,
            Gid = group,
        };
        if (content is not null)
        {
            entry.DataStream = new MemoryStream(content);
        }

        if (type == TarEntryType.CharacterDevice)
        {
            (entry.DeviceMajor, entry.DeviceMinor) = (1, 3);
        }

        _writer.WriteEntry(entry);
        return this;
    }
}
