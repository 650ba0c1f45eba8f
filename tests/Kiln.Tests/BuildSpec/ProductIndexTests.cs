using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Oci;

namespace Kiln.Tests.BuildSpec;

/// <summary>What the index of a job's products says of each (P-4).</summary>
public sealed class ProductIndexTests
{
    [Theory]
    [InlineData("zen3", "x86_64_v2", "zen3")]
    [InlineData("zen3", "x86_64_v3", "zen3")]
    // A machine of that name could not run it: the loader refuses what declares more than the processor has.
    [InlineData("zen3", "x86_64_v4", "x86_64_v4")]
    [InlineData("x86_64_v3", "x86_64_v4", "x86_64_v4")]
    [InlineData("x86_64_v3", "x86_64", "x86_64_v3")]
    [InlineData("neoverse_n1", "aarch64", "neoverse_n1")]
    [InlineData("zen3", null, "zen3")]
    [InlineData(null, "x86_64_v2", "x86_64_v2")]
    public void What_was_asked_for_counts_unless_the_files_need_more(string? asked, string? measured, string written)
    {
        var hints = new ImageHints
        {
            FlattenOwnership = "allow",
            FlattenMode = "allow",
            Owners = [0],
            Groups = [0],
            SetIdFiles = 0,
            CapabilityFiles = 0,
            UncompressedBytes = 1,
            Files = 1,
            CpuTarget = measured,
        };
        var manifest = new Descriptor
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.Of("image"u8),
            Size = 5,
        };
        var index = JsonNode.Parse(
            ProductIndex.Of([new ProductEntry(manifest, Platform.LinuxAmd64, asked, hints, Emulated: false)])
        )!;
        Assert.Equal(written, (string?)index["manifests"]![0]!["annotations"]!["io.archspec.cpu.target"]);
    }
}
