using Kiln.Node.Engines.Buildah;

namespace Kiln.Tests.Node;

/// <summary>Which generations of cached steps are given up when there are too many.</summary>
public sealed class GenerationsTests : IDisposable
{
    private readonly string _scope = Directory.CreateTempSubdirectory("kiln-steps-").FullName;

    public void Dispose() => Directory.Delete(_scope, recursive: true);

    [Fact]
    public void A_last_step_that_changes_again_and_again_leaves_what_it_stands_on()
    {
        Make(1, layers: """[{"id":"a"},{"id":"b","parent":"a"}]""");
        for (var i = 2; i <= 9; i++)
        {
            Make(i, layers: $$"""[{"id":"leaf{{i}}","parent":"b"}]""");
        }

        Assert.Equal([2], Superfluous(keep: 8));
        Assert.Equal([7, 6, 5, 4, 3, 2], Superfluous(keep: 3));
    }

    [Fact]
    public void Nothing_goes_while_there_are_few()
    {
        Make(1, layers: """[{"id":"a"}]""");
        Make(2, layers: """[{"id":"b"}]""");

        Assert.Empty(Superfluous(keep: 2));
    }

    [Fact]
    public void What_an_image_of_another_generation_is_made_of_stays()
    {
        Make(1, layers: """[{"id":"a"}]""");
        Make(2, layers: """[{"id":"b"}]""", images: """[{"id":"i","layer":"a"}]""");
        Make(3, layers: """[{"id":"c"}]""");
        Make(4, layers: """[{"id":"d"}]""");

        // The oldest goes only after the one whose image is made of it.
        Assert.Equal([2], Superfluous(keep: 3));
        Assert.Equal([2, 1], Superfluous(keep: 2));
    }

    [Fact]
    public void Where_each_stands_on_the_one_before_all_start_over()
    {
        Make(1, layers: """[{"id":"l1"}]""");
        for (var i = 2; i <= 4; i++)
        {
            Make(i, layers: $$"""[{"id":"l{{i}}","parent":"l{{i - 1}}"}]""");
        }

        Assert.Equal([4, 3, 2, 1], Superfluous(keep: 3));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[1,null,{\"id\":3,\"parent\":[]}]")]
    [InlineData("[{\"id\":\"a\",\"parent\":\"a\"}")]
    public void What_a_build_forged_is_read_as_nothing(string layers)
    {
        Make(1, layers);
        Make(2, layers);

        Assert.Equal([1], Superfluous(keep: 1));
    }

    private void Make(int number, string layers, string? images = null)
    {
        var store = Path.Combine(_scope, $"{number}", "store");
        Directory.CreateDirectory(Path.Combine(store, "overlay-layers"));
        Directory.CreateDirectory(Path.Combine(store, "overlay-images"));
        File.WriteAllText(Path.Combine(store, "overlay-layers", "layers.json"), layers);
        if (images is not null)
        {
            File.WriteAllText(Path.Combine(store, "overlay-images", "images.json"), images);
        }
    }

    private IEnumerable<int> Superfluous(int keep) =>
        Generations
            .Superfluous(
                [.. Directory.GetDirectories(_scope).OrderByDescending(d => int.Parse(Path.GetFileName(d)))],
                keep
            )
            .Select(d => int.Parse(Path.GetFileName(d)));
}
