using System.Text.Json;
using Kiln.Client;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Tests.Client;

/// <summary>What is made at hand goes into a registry in an order that shows nothing half.</summary>
public sealed class HeldContentTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_product_goes_out_with_its_referrers_under_the_fallback_tag_and_its_tags_last()
    {
        await using var registry = await TestRegistry.StartAsync();
        using var client = registry.Client();
        var held = new HeldContent();
        var image = Image(held, "layer"u8.ToArray(), subject: null);
        Image(held, "log"u8.ToArray(), image.Descriptor);
        var index = held.AddManifest(
            JsonSerializer.SerializeToUtf8Bytes(
                new ImageIndex { Manifests = [image.Descriptor] },
                OciJson.Default.ImageIndex
            ),
            MediaTypes.OciIndex
        );

        var target = new RegistryTarget(client, registry.Repository("made/app"));
        await new TreeCopy(held, target, new CopyOptions { Referrers = true }).CopyAsync(
            index,
            [Tag.Parse("1.0"), Tag.Parse("latest")],
            Cancel
        );

        var puts = registry.Requests.Where(r =>
            r.StartsWith("PUT ", StringComparison.Ordinal) && r.Contains("/manifests/", StringComparison.Ordinal)
        );
        var names = puts.Select(r => r[(r.LastIndexOf('/') + 1)..]).ToList();
        var fallback = RegistryClient.ReferrersTag(image.Digest).Value;
        Assert.Equal(6, names.Count);
        Assert.Equal([image.Digest.ToString(), index.Digest.ToString()], names.Take(2));
        Assert.Equal([fallback, "1.0", "latest"], names.Skip(3));
        var listed = await client.ListReferrersAsync(registry.Repository("made/app"), image.Digest, null, Cancel);
        Assert.Equal("text/x-held", Assert.Single(listed).ArtifactType);
    }

    [Fact]
    public async Task What_is_not_at_hand_is_named()
    {
        await using var registry = await TestRegistry.StartAsync();
        using var client = registry.Client();
        var held = new HeldContent();
        var missing = new Descriptor
        {
            MediaType = MediaTypes.OciLayerGzip,
            Digest = Digest.Of("nowhere"u8),
            Size = 7,
        };
        var image = held.AddManifest(
            JsonSerializer.SerializeToUtf8Bytes(
                new ImageManifest { Config = missing, Layers = [] },
                OciJson.Default.ImageManifest
            ),
            MediaTypes.OciManifest
        );

        var copy = new TreeCopy(held, new RegistryTarget(client, registry.Repository("made/app")), new CopyOptions());
        var e = await Assert.ThrowsAsync<RegistryException>(() => copy.CopyAsync(image, [Tag.Parse("1")], Cancel));

        Assert.Contains(missing.Digest.ToString(), e.Message, StringComparison.Ordinal);
        Assert.False(registry.Manifests.ContainsKey("1"));
    }

    private static RemoteManifest Image(HeldContent held, byte[] layer, Descriptor? subject)
    {
        held.AddBlob(layer);
        held.AddBlob("{}"u8.ToArray());
        var manifest = new ImageManifest
        {
            ArtifactType = subject is null ? null : "text/x-held",
            Config = new Descriptor
            {
                MediaType = MediaTypes.OciEmpty,
                Digest = Digest.EmptyJson,
                Size = 2,
            },
            Layers =
            [
                new Descriptor
                {
                    MediaType = MediaTypes.OciLayerGzip,
                    Digest = Digest.Of(layer),
                    Size = layer.Length,
                },
            ],
            Subject = subject,
        };
        return held.AddManifest(
            JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest),
            MediaTypes.OciManifest
        );
    }
}
