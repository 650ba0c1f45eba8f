using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Node.Deriving;
using Kiln.Node.Sandbox;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Builds;

/// <summary>Plays a node that makes formats of finished images, for real where that needs no program.</summary>
internal static class FormatNode
{
    public static readonly string[] All = ["oci", "sif", "squashfs", "single-layer", "single-id"];

    public static readonly LeaseClaim Maker = new()
    {
        Node = "maker",
        // Of another platform than the images are: nothing of them is run.
        Platforms = ["linux/s390x"],
        Recipes = [RecipeTypes.Image],
        Outputs = All,
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    // As a node does it; squashfs only by its first bytes, since its maker may not be there.
    public static async Task MakeAsync(BuildServer server, string format)
    {
        var lease = await server.Node.TryClaimAsync(Maker);
        Assert.Equal((RecipeTypes.Image, format), (lease?.Task.RecipeType, lease?.Task.Format));
        if (format is "sif" or "squashfs")
        {
            await server.Node.CompleteAsync(lease!, await SifAsync(server, lease!, ""));
            return;
        }

        var home = Directory.CreateTempSubdirectory("kiln-format-").FullName;
        var said = new StringBuilder();
        try
        {
            var result = await new Derivation(
                lease!,
                server.Coordinator,
                home,
                new BuildLimits(1 << 30, 1 << 30, 100, 0),
                line => said.Append(line)
            ).MakeAsync(Cancel);
            await server.Node.LogAsync(lease!, said.ToString());
            await server.Node.CompleteAsync(lease!, result);
        }
        finally
        {
            Directory.Delete(home, recursive: true);
        }
    }

    public static async Task<LeaseResult> SifAsync(BuildServer server, Lease lease, string lie, Digest? subject = null)
    {
        var isSif = lease.Task.Format == "sif";
        byte[] file =
        [
            .. isSif ? SifFile.Head("02", 4, lease.Task.Recipe.Digest, 0) : [],
            .. "hsqs"u8,
            .. new byte[64],
        ];
        var layer = await PushAsync(
            server,
            lease,
            lie == "content" ? new byte[100] : file,
            isSif ? BuildMediaTypes.SifLayer : BuildMediaTypes.SquashfsLayer
        );
        var source = ManifestReader.Read(lease.Task.Recipe.Data, lease.Task.Recipe.MediaType, out _)!;
        var manifest = new ImageManifest
        {
            ArtifactType = isSif ? null : BuildMediaTypes.Squashfs,
            Config = !isSif
                ? source.Config!
                : await PushAsync(
                    server,
                    lease,
                    "{}"u8.ToArray(),
                    lie == "config" ? MediaTypes.OciEmpty : BuildMediaTypes.SifConfig
                ),
            Layers = lie == "layers" ? [layer, layer] : [layer],
            Subject =
                lie == "subject"
                    ? null
                    : lease.Task.Recipe with
                    {
                        Data = null,
                        Digest = subject ?? lease.Task.Recipe.Digest,
                    },
            Annotations = new Dictionary<string, string> { ["org.supercontainers.build.format"] = lease.Task.Format },
        };
        return new LeaseResult
        {
            State = BuildStates.Succeeded,
            Manifest = await server.Coordinator.PushManifestAsync(
                lease,
                JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest),
                MediaTypes.OciManifest,
                Cancel
            ),
        };
    }

    // An image with what flattening takes away.
    public static async Task<Descriptor> ForeignImageAsync(BuildServer server, Lease lease)
    {
        var tar = new Tars().File("su", "s", 0x9ed).File("mine", "m", owner: 5).WithCapability("cap").File("x").Bytes();
        var config = Encoding.UTF8.GetBytes(
            $$$"""{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["{{{Digest.Of(tar)}}}"]}}"""
        );
        var manifest = new ImageManifest
        {
            Config = await PushAsync(server, lease, config, MediaTypes.OciConfig),
            Layers = [await PushAsync(server, lease, Tars.Gzip(tar), MediaTypes.OciLayerGzip)],
        };
        var pushed = await server.Coordinator.PushManifestAsync(
            lease,
            JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest),
            MediaTypes.OciManifest,
            Cancel
        );
        await server.Node.CompleteAsync(lease, new LeaseResult { State = BuildStates.Succeeded, Manifest = pushed });
        return pushed;
    }

    private static async Task<Descriptor> PushAsync(BuildServer server, Lease lease, byte[] bytes, string type)
    {
        var (digest, size) = await server.Coordinator.PushBlobAsync(
            lease,
            (to, stop) => to.WriteAsync(bytes, stop).AsTask(),
            Cancel
        );
        return new Descriptor
        {
            MediaType = type,
            Digest = digest,
            Size = size,
        };
    }
}
