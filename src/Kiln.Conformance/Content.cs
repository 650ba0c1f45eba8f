using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance;

/// <summary>A blob or a manifest as others refer to it.</summary>
internal sealed record Item(string MediaType, string Digest, byte[] Bytes)
{
    public JsonObject Descriptor =>
        new()
        {
            ["mediaType"] = MediaType,
            ["digest"] = Digest,
            ["size"] = Bytes.Length,
        };
}

/// <summary>Media types of the specifications.</summary>
internal static class Types
{
    public const string OctetStream = "application/octet-stream";
    public const string Manifest = "application/vnd.oci.image.manifest.v1+json";
    public const string Index = "application/vnd.oci.image.index.v1+json";
    public const string Config = "application/vnd.oci.image.config.v1+json";
    public const string Empty = "application/vnd.oci.empty.v1+json";
    public const string Layer = "application/vnd.oci.image.layer.v1.tar";
    public const string LayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    public const string Recipe = "application/vnd.supercontainers.build.recipe.v1";
    public const string RecipeConfig = "application/vnd.supercontainers.build.config.v1+json";
    public const string Dockerfile = "application/vnd.supercontainers.build.dockerfile.v1";
    public const string Context = "application/vnd.supercontainers.build.context.v1.tar+gzip";
    public const string Request = "application/vnd.supercontainers.build.request.v1+json";
    public const string Info = "application/vnd.supercontainers.build.info.v1+json";
    public const string Job = "application/vnd.supercontainers.build.job.v1+json";
    public const string Jobs = "application/vnd.supercontainers.build.jobs.v1+json";
    public const string Lease = "application/vnd.supercontainers.build.lease.v1+json";
    public const string Secret = "application/vnd.supercontainers.build.secret.v1+json";
    public const string Hook = "application/vnd.supercontainers.build.hook.v1+json";
}

/// <summary>Content to push, and its pushing where that is not what the check is about.</summary>
internal static class Content
{
    public static byte[] Random(int bytes) => RandomNumberGenerator.GetBytes(bytes);

    public static string Sha256(ReadOnlySpan<byte> bytes) =>
        "sha256:" + Convert.ToHexStringLower(SHA256.HashData(bytes));

    public static string Sha512(ReadOnlySpan<byte> bytes) =>
        "sha512:" + Convert.ToHexStringLower(SHA512.HashData(bytes));

    public static Item ItemOf(byte[] bytes, string mediaType = Types.OctetStream) =>
        new(mediaType, Sha256(bytes), bytes);

    public static Item ItemOf(string text, string mediaType) => ItemOf(Encoding.UTF8.GetBytes(text), mediaType);

    /// <summary>A regular file of an archive.</summary>
    public static TarEntry File(string path, string content, int user = 0) =>
        new GnuTarEntry(TarEntryType.RegularFile, path)
        {
            DataStream = new MemoryStream(Encoding.UTF8.GetBytes(content)),
            Mode = (UnixFileMode)0b110_100_100,
            ModificationTime = DateTimeOffset.UnixEpoch,
            Uid = user,
            Gid = user,
        };

    public static byte[] Tar(params IEnumerable<TarEntry> entries)
    {
        using var bytes = new MemoryStream();
        using (var writer = new TarWriter(bytes, TarEntryFormat.Gnu, leaveOpen: true))
        {
            foreach (var entry in entries)
            {
                writer.WriteEntry(entry);
            }
        }

        return bytes.ToArray();
    }

    public static byte[] Gzip(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(bytes);
        }

        return packed.ToArray();
    }

    /// <summary>The JSON of an image manifest.</summary>
    public static JsonObject Manifest(Item config, params IEnumerable<Item> layers) =>
        new()
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = Types.Manifest,
            ["config"] = config.Descriptor,
            ["layers"] = Json.ArrayOf(layers.Select(layer => layer.Descriptor)),
        };

    /// <summary>Pushes a blob in two requests, the way that every registry has.</summary>
    public static async Task<Item> PushAsync(this Session session, Item blob, string? repository = null)
    {
        var begun = (
            await session.SendAsync(
                new Call("POST", $"/v2/{repository ?? session.Repository}/blobs/uploads/") { Body = [] }
            )
        ).Needed("an upload");
        var pushed = await session.SendAsync(
            new Call("PUT", WithQuery(begun.Location, "digest", blob.Digest)).WithBody(blob.Bytes, Types.OctetStream)
        );
        pushed.Needed("a pushed blob");
        return blob;
    }

    /// <summary>Pushes an artifact of no blobs but random ones; its manifest.</summary>
    public static async Task<Item> PushArtifactAsync(
        this Session session,
        string? reference = null,
        JsonObject? members = null
    )
    {
        var config = await session.PushAsync(ItemOf("{}", Types.Empty));
        var layer = await session.PushAsync(ItemOf(Random(64)));
        var manifest = Manifest(config, layer);
        manifest["artifactType"] = "application/vnd.example.conformance";
        foreach (var (name, value) in members ?? [])
        {
            manifest[name] = value?.DeepClone();
        }

        var item = ItemOf(manifest.Bytes(), Types.Manifest);
        (await session.PutManifestAsync(item, reference ?? item.Digest)).Needed("a pushed manifest");
        return item;
    }

    public static Task<Answer> PutManifestAsync(this Session session, Item manifest, string reference) =>
        session.SendAsync(
            new Call("PUT", session.At($"manifests/{reference}")).WithBody(manifest.Bytes, manifest.MediaType)
        );

    /// <summary>An address with one parameter more.</summary>
    public static string WithQuery(Uri address, string name, string value)
    {
        var separator = address.Query.Length > 1 ? '&' : '?';
        return $"{address.AbsoluteUri}{separator}{name}={Uri.EscapeDataString(value)}";
    }
}
