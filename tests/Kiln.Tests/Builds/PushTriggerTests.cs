using System.Net;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Builds;

/// <summary>A pushed recipe starts a build; what cannot be built is pushed all the same, and the answer says why.</summary>
public sealed class PushTriggerTests
{
    [Fact]
    public async Task A_pushed_recipe_is_built_under_the_tag_that_its_own_stands_for()
    {
        await using var server = await BuildServer.StartAsync();
        using var response = await server.PushRecipeAsync("1.0.recipe", null, await server.RecipeLayerAsync());
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        var lease = await server.Node.ClaimAsync();
        var link = response.Headers.GetValues("Link").Single();
        var warning = response.Headers.GetValues("Warning").Single();
        Assert.Contains($"rel=\"status\"; type=\"{BuildMediaTypes.Job}\"", link);
        var job = await server.GetAsync(link.Split('>')[0].Split('/')[^1]);
        Assert.Equal((JobTriggers.Push, "1.0"), (job.Trigger, job.Tags.Single()));
        Assert.StartsWith($"299 - \"build {job.Id} queued for hpc/app:1.0; follow http://127.0.0.1:", warning);

        await server.Node.SucceedAsync(lease);
        Assert.NotNull(await server.TagAsync("1.0"));
    }

    [Fact]
    public async Task Pushing_the_same_again_rebuilds_nothing()
    {
        await using var server = await BuildServer.StartAsync();
        var layer = await server.RecipeLayerAsync();
        using var first = await server.PushRecipeAsync("a.recipe", Stamped("1"), layer);
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        using var second = await server.PushRecipeAsync("b.recipe", Stamped("2"), layer);

        Assert.Contains("answered from an earlier result", second.Headers.GetValues("Warning").Single());
        Assert.NotNull(await server.TagAsync("b"));
        Assert.Null(await server.Node.TryClaimAsync());
    }

    [Fact]
    public async Task Contexts_and_options_reach_the_node()
    {
        await using var server = await BuildServer.StartAsync();
        var context = (
            await server.PushBlobAsync(new Tars().File("src/hello.c", "int x;").Gzip(), MediaTypes.OciLayerGzip)
        ) with
        {
            Annotations = new Dictionary<string, string>
            {
                [RecipeAnnotations.Title] = "src",
                [RecipeAnnotations.OrasUnpack] = "true",
            },
        };
        var annotations = new Dictionary<string, string>
        {
            [RecipeAnnotations.Tags] = "2.0, latest",
            [RecipeAnnotations.Platforms] = "linux/arm64",
            [RecipeAnnotations.ArgPrefix + "MSG"] = "hi",
            [RecipeAnnotations.Timeout] = "77",
        };
        using var response = await server.PushRecipeAsync("r", annotations, await server.RecipeLayerAsync(), context);
        var lease = await server.Node.ClaimAsync();

        Assert.Equal(
            ("linux/arm64", 77, "hi"),
            (lease.Task.Platform.ToString(), lease.Task.TimeoutSeconds, lease.Task.Args["MSG"])
        );
        Assert.Equal((context.Digest, 1), (lease.Task.Contexts[0].Blob.Digest, lease.Task.Contexts[0].Strip));
        await server.Node.SucceedAsync(lease);
        Assert.NotNull(await server.TagAsync("latest"));

        // The same files, packed at another time: the same context, hence the same build.
        var repacked = (
            await server.PushBlobAsync(
                new Tars().File("src/hello.c", "int x;", time: 99).Bytes(),
                MediaTypes.OciLayerTar
            )
        ) with
        {
            Annotations = context.Annotations,
        };
        using var again = await server.PushRecipeAsync("r", annotations, await server.RecipeLayerAsync(), repacked);
        Assert.Contains("earlier result", again.Headers.GetValues("Warning").Single());
    }

    [Theory]
    [InlineData("r", "r", "own")]
    [InlineData("r", "bad tag", "not a tag")]
    [InlineData("r", "../x", "not a tag")]
    public async Task A_refused_trigger_does_not_fail_the_push(string reference, string tags, string why)
    {
        await using var server = await BuildServer.StartAsync();
        var annotations = new Dictionary<string, string> { [RecipeAnnotations.Tags] = tags };
        using var response = await server.PushRecipeAsync(reference, annotations, await server.RecipeLayerAsync());

        await RefusedAsync(server, response, why);
    }

    [Fact]
    public async Task What_is_wrong_with_a_recipe_stands_in_the_warning()
    {
        await using var server = await BuildServer.StartAsync();
        var good = await server.RecipeLayerAsync();
        var broken = await server.RecipeLayerAsync("FROM scratch\nRUNN x\n");
        using var twice = await server.PushRecipeAsync("a", null, good, broken);
        await RefusedAsync(server, twice, "two recipes");
        using var none = await server.PushRecipeAsync("b", null);
        await RefusedAsync(server, none, "no recipe layer");
        using var line = await server.PushRecipeAsync("c", null, broken);
        await RefusedAsync(server, line, "line 2");
        using var type = await server.PushRecipeAsync(
            "d",
            null,
            await server.RecipeLayerAsync("Bootstrap: x", "x.def")
        );
        await RefusedAsync(server, type, "singularity");
        using var file = await server.PushRecipeAsync("e", null, good, await server.RecipeLayerAsync("int x;", "x.c"));
        await RefusedAsync(server, file, "'x.c' is not a tar");

        server.Offer(NodeAbilities.None("buildah is not installed"));
        using var disabled = await server.PushRecipeAsync("f", null, good);
        await RefusedAsync(server, disabled, "buildah is not installed");
    }

    [Fact]
    public async Task A_recipe_that_wants_no_build_gets_none_and_can_be_built_by_its_tag()
    {
        await using var server = await BuildServer.StartAsync();
        var annotations = new Dictionary<string, string> { [RecipeAnnotations.Trigger] = "none" };
        using var response = await server.PushRecipeAsync("1.0.recipe", annotations, await server.RecipeLayerAsync());
        Assert.False(response.Headers.Contains("Link") || response.Headers.Contains("Warning"));
        Assert.Null(await server.Node.TryClaimAsync());

        using var request = new StringContent("""{"recipe":{"tag":"1.0.recipe"}}""");
        request.Headers.ContentType = new(BuildMediaTypes.Request);
        using var posted = await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative),
            request
        );
        Assert.Equal(["1.0"], (await BuildServer.ReadAsync(posted)).Tags);
    }

    [Fact]
    public async Task Roles_are_told_by_annotation_where_types_say_nothing()
    {
        await using var server = await BuildServer.StartAsync();
        var recipe = (await server.RecipeLayerAsync(title: "build.txt")) with
        {
            Annotations = new Dictionary<string, string> { [RecipeAnnotations.Role] = "recipe" },
        };
        using var response = await server.PushRecipeAsync("1.0.recipe", null, recipe);

        Assert.Contains("queued", response.Headers.GetValues("Warning").Single());
    }

    private static async Task RefusedAsync(BuildServer server, HttpResponseMessage response, string why)
    {
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        var warning = response.Headers.GetValues("Warning").Single();
        Assert.StartsWith("299 - \"no build was started: ", warning);
        Assert.Contains(why, warning);
        Assert.Null(await server.Node.TryClaimAsync());
    }

    private static Dictionary<string, string> Stamped(string time) => new() { [HintAnnotations.Created] = time };
}
