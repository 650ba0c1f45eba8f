using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Tests.Client;

public sealed class PlatformChoiceTests
{
    [Theory]
    [InlineData("linux/amd64", "linux/amd64 linux/arm64", "linux/amd64")]
    [InlineData("linux/amd64", "linux/amd64/v3 linux/amd64", "linux/amd64")]
    [InlineData("linux/amd64/v3", "linux/amd64 linux/amd64/v3", "linux/amd64/v3")]
    [InlineData("linux/amd64/v2", "linux/amd64/v3 linux/amd64", "linux/amd64")]
    [InlineData("linux/amd64/v2", "linux/amd64/v3", null)]
    [InlineData("linux/amd64", "linux/amd64/v3", null)]
    [InlineData("linux/arm64", "linux/amd64 linux/arm64/v8", "linux/arm64/v8")]
    [InlineData("linux/arm64/v8", "linux/arm64", "linux/arm64")]
    [InlineData("linux/arm", "linux/arm/v6 linux/arm/v7", "linux/arm/v7")]
    [InlineData("linux/amd64", "unknown/unknown windows/amd64", null)]
    [InlineData("linux/amd64", "unknown/unknown linux/amd64", "linux/amd64")]
    public void The_entry_for_a_platform_is_the_exact_one_then_the_generic_one(
        string wanted,
        string offered,
        string? expected
    )
    {
        var manifests = offered.Split(' ').Select(Entry).ToList();
        Assert.True(Platform.TryParse(wanted, out var platform));

        var chosen = PlatformChoice.Of(manifests, platform);

        Assert.Equal(expected, chosen?.Platform?.ToString());
    }

    private static Descriptor Entry(string platform) =>
        new()
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.EmptyJson,
            Size = 2,
            Platform = Platform.TryParse(platform, out var parsed) ? parsed : null,
        };
}
