using Kiln.BuildSpec;
using Kiln.BuildSpec.Definitions;

namespace Kiln.Tests.Builds;

/// <summary>What is said of requests for definitions before anything is built.</summary>
public sealed class DefinitionRequestTests
{
    private const string Good = "Bootstrap: scratch\n%arguments\n  A=1\n%post\n  echo {{ A }}\n";

    [Stateless]
    [Theory]
    [InlineData("", "Bootstrap: scratch\n%pots\n", 422, "BUILD_RECIPE_INVALID", "line 2: '%pots' is no section")]
    [InlineData(
        "",
        "Bootstrap: library\nFrom: x",
        422,
        "BUILD_RECIPE_INVALID",
        "the bootstrap agent 'library' is not known here"
    )]
    [InlineData(
        "",
        "Bootstrap: debootstrap\nOSVersion: bookworm\nMirrorURL: http://x/",
        422,
        "BUILD_RECIPE_INVALID",
        "this registry does not allow 'Bootstrap: debootstrap'; it allows docker, scratch"
    )]
    [InlineData("?target=other", Good, 422, "BUILD_RECIPE_INVALID", "the definition has no stage 'other'")]
    [InlineData("?arg.B=2", Good, 400, "BUILD_REQUEST_INVALID", "the definition has no argument 'B'")]
    public async Task A_definition_that_cannot_be_built_is_refused(
        string query,
        string text,
        int status,
        string code,
        string sentence
    )
    {
        await using var server = await ServerAsync(BootstrapAgents.Docker, BootstrapAgents.Scratch);
        using var answer = await server.PostAsync(query, text, BuildMediaTypes.Singularity);
        await RefusalTests.AssertErrorAsync(answer, status, code, sentence);
    }

    [Fact]
    public async Task Without_Apptainer_anywhere_it_is_refused_with_a_sentence_of_its_own()
    {
        await using var server = await BuildServer.StartAsync();
        using var answer = await server.PostAsync("", Good, BuildMediaTypes.Singularity);
        await RefusalTests.AssertErrorAsync(
            answer,
            422,
            "BUILD_RECIPE_UNSUPPORTED",
            "no build node here has Apptainer"
        );
    }

    [Fact]
    public async Task Arguments_and_the_engine_are_in_the_key()
    {
        await using var server = await ServerAsync(BootstrapAgents.Scratch);
        var first = await SubmitAsync(server, "?tag=1");
        var same = await SubmitAsync(server, "?tag=2");
        var other = await SubmitAsync(server, "?tag=3&arg.A=2");
        Assert.Equal(first.Tasks[0].Key, same.Tasks[0].Key);
        Assert.NotEqual(first.Tasks[0].Key, other.Tasks[0].Key);
        server.Offer(server.Status.Abilities with { Engines = ["buildah 1.28.2", "apptainer 2.0.0"] });
        Assert.NotEqual(first.Tasks[0].Key, (await SubmitAsync(server, "?tag=4")).Tasks[0].Key);
    }

    private static async Task<Job> SubmitAsync(BuildServer server, string query)
    {
        using var answer = await server.PostAsync(query, Good, BuildMediaTypes.Singularity);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        return await BuildServer.ReadAsync(answer);
    }

    private static async Task<BuildServer> ServerAsync(params string[] bootstraps)
    {
        var server = await BuildServer.StartAsync(b => b with { Bootstraps = bootstraps });
        server.Offer(
            server.Status.Abilities with
            {
                Engines = ["buildah 1.28.2", "apptainer 1.4.5"],
                RecipeTypes = [RecipeTypes.Dockerfile, RecipeTypes.Singularity],
            }
        );
        return server;
    }
}
