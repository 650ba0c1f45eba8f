using Kiln.BuildSpec;
using Kiln.Node.Engines;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>What a recipe hears of its target (N-19).</summary>
public sealed class TargetArgumentsTests
{
    [Theory]
    [InlineData("linux/amd64", null, "linux/amd64|linux|amd64||")]
    [InlineData("linux/arm64", null, "linux/arm64|linux|arm64||")]
    [InlineData("linux/amd64/v3", "x86_64_v3", "linux/amd64/v3|linux|amd64|v3|x86_64_v3")]
    [InlineData("linux/amd64/v3", "zen3", "linux/amd64/v3|linux|amd64|v3|zen3")]
    public void A_recipe_that_names_them_gets_all_of_them(string platform, string? micro, string expected)
    {
        string[] names = ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETMICROARCHITECTURE"];
        var args = TargetArguments
            .With(TaskFor(platform, micro), string.Join('\n', names.Select(n => $"ARG {n}")))
            .Args;
        Assert.Equal(expected, string.Join('|', names.Select(n => args[n])));
    }

    [Fact]
    public void What_it_does_not_name_is_not_given_and_what_the_request_says_stays()
    {
        var task = TaskFor("linux/amd64/v3", null) with
        {
            Args = new Dictionary<string, string> { ["TARGETVARIANT"] = "mine" },
        };
        var args = TargetArguments.With(task, "ARG TARGETARCH\nARG TARGETVARIANT\n").Args;
        Assert.Equal(["TARGETARCH=amd64", "TARGETVARIANT=mine"], args.Select(a => $"{a.Key}={a.Value}").Order());
    }

    private static LeaseTask TaskFor(string platform, string? micro) =>
        new()
        {
            Platform = Platform.Parse(platform),
            Microarchitecture = micro,
            Format = "oci",
            RecipeType = RecipeTypes.Dockerfile,
            Recipe = new Descriptor
            {
                MediaType = BuildMediaTypes.Dockerfile,
                Digest = Kiln.Oci.Digest.EmptyJson,
                Size = 2,
            },
            Network = NetworkModes.None,
            TimeoutSeconds = 1,
        };
}
