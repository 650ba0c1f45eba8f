using System.Net;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>What nodes build by emulation: who gets it when, and how it is marked (N-18).</summary>
public sealed class EmulationTests
{
    private const string Foreign = "linux/riscv64";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static LeaseClaim Emulating { get; } =
        new()
        {
            Node = "emulating",
            Platforms = ["linux/amd64"],
            EmulatedPlatforms = [Foreign],
            Recipes = [RecipeTypes.Dockerfile],
            Outputs = [BuildOutput.Oci],
        };

    private static LeaseClaim Native { get; } =
        Emulating with
        {
            Node = "native",
            Platforms = [Foreign],
            EmulatedPlatforms = null,
        };

    [Fact]
    public async Task What_nobody_builds_natively_is_emulated_and_marked_everywhere()
    {
        await using var server = await BuildServer.StartAsync();
        await OfferAsync(server, Emulating);
        var info = await InfoAsync(server);
        Assert.Contains(Foreign, info["platforms"]!.AsArray().Select(p => (string)p!));
        Assert.Equal([Foreign], info["emulatedPlatforms"]!.AsArray().Select(p => (string)p!));

        var job = await server.SubmitAsync($"?tag=1.0&platform=linux/amd64,{Foreign}");
        Assert.Null(
            await server.Node.TryClaimAsync(Emulating with { Platforms = ["linux/arm64"], EmulatedPlatforms = null })
        );
        for (var i = 0; i < 2; i++)
        {
            var lease = (await server.Node.TryClaimAsync(Emulating))!;
            await server.Node.SucceedAsync(lease, lease.Task.Platform.ToString());
        }

        job = await server.GetAsync(job.Id);
        Assert.Equal([null, true], job.Tasks.Select(t => t.Emulated));
        Assert.Equal([null, true], job.Result!.Outputs.Select(o => o.Emulated));
        var index = await server.TagAsync("1.0");
        Assert.Equal(
            ["linux/amd64 ", $"{Foreign} true"],
            index!.Manifests.Select(m =>
                $"{m.Platform} {m.Annotations?.GetValueOrDefault("org.supercontainers.emulated")}"
            )
        );
        Assert.Contains($", {Foreign}, emulated\n", await server.LogAsync(job.Id), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Node_that_builds_natively_is_waited_for_but_not_for_long()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        await OfferAsync(server, Emulating);
        await OfferAsync(server, Native);
        Assert.Null((await InfoAsync(server))["emulatedPlatforms"]);

        var job = await server.SubmitAsync($"?platform={Foreign}");
        Assert.Null(await server.Node.TryClaimAsync(Emulating));
        server.Time!.Advance(TimeSpan.FromMinutes(4));
        // It is still there, but cannot build this.
        await OfferAsync(server, Native with { Recipes = [RecipeTypes.Singularity] });
        Assert.Null(await server.Node.TryClaimAsync(Emulating));
        server.Time.Advance(TimeSpan.FromMinutes(1.5));
        var lease = await server.Node.TryClaimAsync(Emulating);
        await server.Node.SucceedAsync(lease!);
        Assert.True((await server.GetAsync(job.Id)).Tasks[0].Emulated);

        // Nobody waits for one that has gone.
        server.Time.Advance(TimeSpan.FromMinutes(6));
        await server.SubmitAsync($"?platform={Foreign}&arg.X=1");
        Assert.NotNull(await server.Node.TryClaimAsync(Emulating));
    }

    [Fact]
    public async Task What_must_not_be_emulated_waits_for_a_native_node_and_is_not_answered_by_what_was()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        await OfferAsync(server, Emulating);
        var emulated = await server.SubmitAsync($"?platform={Foreign}");
        await server.Node.SucceedAsync((await server.Node.TryClaimAsync(Emulating))!);
        using (var refused = await server.PostAsync($"?platform={Foreign}&emulation=denied"))
        {
            await refused.ShouldFailAsync(422, "BUILD_PLATFORM_UNSUPPORTED");
            Assert.Contains(
                "by emulation only",
                await refused.Content.ReadAsStringAsync(Cancel),
                StringComparison.Ordinal
            );
        }

        await OfferAsync(server, Native);
        var job = await server.SubmitAsync($"?platform={Foreign}&emulation=denied");
        Assert.NotEqual(emulated.Tasks[0].Key, job.Tasks[0].Key);
        server.Time!.Advance(TimeSpan.FromMinutes(10));
        Assert.Null(await server.Node.TryClaimAsync(Emulating));
        var lease = await server.Node.TryClaimAsync(Native);
        Assert.Equal("denied", lease!.Task.Emulation);
        await server.Node.SucceedAsync(lease);
        Assert.Null((await server.GetAsync(job.Id)).Tasks[0].Emulated);

        using var wrong = await server.PostAsync("?emulation=perhaps");
        await wrong.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
    }

    [Fact]
    public async Task Product_keeps_its_mark_where_another_node_finds_that_nothing_is_to_be_built()
    {
        await using var server = await BuildServer.StartAsync();
        await OfferAsync(server, Emulating);
        await server.SubmitAsync($"?platform={Foreign}");
        var built = await server.Node.SucceedAsync((await server.Node.TryClaimAsync(Emulating))!);

        var job = await server.SubmitAsync($"?tag=1.0&platform={Foreign}&cache=refresh");
        var lease = (await server.Node.TryClaimAsync(Native))!;
        await server.Node.CompleteAsync(lease, built with { Manifest = Assert.Single(lease.Task.Earlier!).Manifest });
        job = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Succeeded, true), (job.State, job.Result!.Outputs[0].Emulated));
        Assert.True(
            (await server.TagAsync("1.0"))!.Manifests[0].Annotations!.ContainsKey("org.supercontainers.emulated")
        );
    }

    [Fact]
    public async Task Registry_may_want_none()
    {
        await using var server = await BuildServer.StartAsync(o => o with { AllowEmulation = false });
        await OfferAsync(server, Emulating);
        Assert.DoesNotContain(Foreign, (await InfoAsync(server))["platforms"]!.AsArray().Select(p => (string)p!));
        using var refused = await server.PostAsync($"?platform={Foreign}");
        await refused.ShouldFailAsync(422, "BUILD_PLATFORM_UNSUPPORTED");
        Assert.Contains(
            "emulation is not allowed here",
            await refused.Content.ReadAsStringAsync(Cancel),
            StringComparison.Ordinal
        );

        // What waits for a native node is not given to it either.
        await OfferAsync(server, Native);
        await server.SubmitAsync($"?platform={Foreign}");
        Assert.Null(await server.Node.TryClaimAsync(Emulating));
        var lease = await server.Node.TryClaimAsync(Native);
        // Said in the task, and so in its key: what was emulated while it was allowed does not answer it.
        Assert.Equal("denied", lease!.Task.Emulation);
    }

    [Stateless]
    [Theory]
    [InlineData("[\"nonsense\"]")]
    [InlineData("[null]")]
    [InlineData("\"linux/arm64\"")]
    public async Task Claim_whose_platforms_are_none_is_refused(string platforms)
    {
        await using var server = await BuildServer.StartAsync();
        using var refused = await new WireNode(server.Http).ClaimAsync(
            offer: $$"""{"node":"n","platforms":["linux/amd64"],"emulatedPlatforms":{{platforms}},"recipes":["dockerfile"],"outputs":["oci"]}"""
        );
        await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
    }

    // Asks for work over the wire, as nodes elsewhere do, when there is none.
    private static async Task OfferAsync(BuildServer server, LeaseClaim claim)
    {
        var offer = System.Text.Json.JsonSerializer.Serialize(claim, BuildJson.Default.LeaseClaim);
        using var answer = await new WireNode(server.Http).ClaimAsync(offer: offer);
        Assert.Equal(HttpStatusCode.NoContent, answer.StatusCode);
    }

    private static async Task<JsonNode> InfoAsync(BuildServer server) =>
        JsonNode.Parse(await server.Http.GetStringAsync(new Uri("_build/v1/info", UriKind.Relative), Cancel))!;
}
