using Kiln.BuildSpec.Architectures;
using Kiln.Oci;

namespace Kiln.Tests.BuildSpec;

/// <summary>Which image of an index is taken, for a machine and to build on.</summary>
public sealed class ImageChoiceTests
{
    [Theory]
    [InlineData("linux/amd64", "linux/amd64 linux/arm64", "linux/amd64")]
    [InlineData("linux/amd64", "linux/amd64/v3 linux/amd64", "linux/amd64")]
    [InlineData("linux/amd64/v3", "linux/amd64 linux/amd64/v3", "linux/amd64/v3")]
    [InlineData("linux/amd64/v2", "linux/amd64/v3 linux/amd64", "linux/amd64")]
    [InlineData("linux/amd64/v2", "linux/amd64/v3", null)]
    [InlineData("linux/amd64/v4", "linux/amd64 linux/amd64/v2 linux/amd64/v3", "linux/amd64/v3")]
    [InlineData("linux/amd64/v3", "linux/amd64/v4 linux/amd64/v2 linux/amd64", "linux/amd64/v2")]
    [InlineData("linux/amd64/v3", "linux/amd64/v1", "linux/amd64/v1")]
    [InlineData("linux/arm/v7", "linux/arm/v6", null)]
    [InlineData("linux/amd64", "linux/amd64/v3", null)]
    [InlineData("linux/arm64", "linux/amd64 linux/arm64/v8", "linux/arm64/v8")]
    [InlineData("linux/arm64/v8", "linux/arm64", "linux/arm64")]
    [InlineData("linux/arm", "linux/arm/v6 linux/arm/v7", "linux/arm/v7")]
    [InlineData("linux/amd64", "unknown/unknown windows/amd64", null)]
    [InlineData("linux/amd64", "unknown/unknown linux/amd64", "linux/amd64")]
    public void Image_for_a_platform_is_that_of_the_highest_level_that_it_runs(
        string wanted,
        string offered,
        string? expected
    )
    {
        var manifests = offered.Split(' ').Select(Entry).ToList();
        Assert.True(Platform.TryParse(wanted, out var platform));

        var chosen = ImageChoice.Of(manifests, platform);

        Assert.Equal(expected, chosen?.Platform?.ToString());
    }

    // Entries are PLATFORM=NAME, with ! where they were built by emulation; what is taken is said by its place.
    [Theory]
    [InlineData(
        "zen4",
        "linux/amd64 linux/amd64/v3=x86_64_v3 linux/amd64/v3=zen3 linux/amd64/v4=icelake",
        2,
        ImageFit.Runs
    )]
    [InlineData("zen4", "linux/amd64/v3=zen3 linux/amd64/v3=zen2 linux/amd64/v4=x86_64_v4", 2, ImageFit.Runs)]
    [InlineData("zen2", "linux/amd64/v3=zen3 linux/amd64 linux/amd64/v2", 2, ImageFit.Runs)]
    [InlineData("haswell", "linux/amd64/v3=zen linux/amd64=x86_64", 1, ImageFit.Runs)]
    [InlineData("x86_64_v3", "linux/amd64/v3=haswell linux/amd64/v3=x86_64_v3", 1, ImageFit.Runs)]
    [InlineData("x86_64_v3", "linux/amd64/v3=haswell", 0, ImageFit.DoesNotRun)]
    // What its files declare counts as what it is for, and is a claim where nothing else is there.
    [InlineData("x86_64_v2", "linux/amd64=x86_64_v3 linux/amd64=x86_64", 1, ImageFit.Runs)]
    [InlineData("x86_64_v2", "linux/amd64=x86_64_v4 linux/amd64=x86_64_v3", 1, ImageFit.MayRun)]
    [InlineData("x86_64_v4", "linux/amd64=x86_64_v3 linux/amd64/v2", 0, ImageFit.Runs)]
    [InlineData("zen3", "linux/amd64/v3=somebodys_new linux/amd64", 1, ImageFit.Runs)]
    [InlineData("zen3", "linux/amd64/v3=somebodys_new", 0, ImageFit.MayRun)]
    [InlineData("neoverse_v1", "linux/arm64=aarch64 linux/arm64=neoverse_n1 linux/arm64=neoverse_n2", 1, ImageFit.Runs)]
    [InlineData("neoverse_v1", "linux/arm64! linux/arm64 linux/amd64", 1, ImageFit.Runs)]
    [InlineData("neoverse_v1", "linux/arm64!", 0, ImageFit.Runs)]
    public void Image_for_a_machine_is_the_one_that_makes_most_of_it(
        string machine,
        string offered,
        int taken,
        ImageFit fit
    )
    {
        var manifests = offered.Split(' ').Select(Entry).ToList();

        var best = ImageChoice.Rank(manifests, Microarchitectures.PlatformOf(machine)!, machine)[0];

        Assert.Equal((taken, fit), (manifests.IndexOf(best.Entry), best.Fit));
        Assert.NotEmpty(best.Why);
    }

    private static Descriptor Entry(string text, int size)
    {
        var parts = text.TrimEnd('!').Split('=');
        var annotations = new Dictionary<string, string>();
        if (parts.Length == 2)
        {
            annotations["io.archspec.cpu.target"] = parts[1];
        }

        if (text.EndsWith('!'))
        {
            annotations["org.supercontainers.emulated"] = "true";
        }

        return new()
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.EmptyJson,
            Size = size,
            Platform = Platform.TryParse(parts[0], out var parsed) ? parsed : null,
            Annotations = annotations,
        };
    }
}
