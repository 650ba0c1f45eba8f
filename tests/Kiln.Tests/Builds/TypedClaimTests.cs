using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>
/// Nodes that start builds on several types of machines: each type is what it is by itself, in what is handed out, what is
/// refused, and what is told of it (N-1, N-18).
/// </summary>
public sealed class TypedClaimTests
{
    private const string Foreign = "linux/riscv64";
    private const string Definition = "Bootstrap: scratch\n%labels\n  a b\n";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static LeaseClaim Claim(params OfferedType[] types) =>
        new()
        {
            Node = "launching",
            Platforms = ["linux/amd64"],
            Recipes = [RecipeTypes.Dockerfile],
            Outputs = [BuildOutput.Oci],
            Types = types,
        };

    private static OfferedType Zen { get; } = new() { Microarchitectures = ["zen3"] };

    private static OfferedType Definitions { get; } = new() { Recipes = [RecipeTypes.Singularity] };

    private static OfferedType Emulating { get; } = new() { EmulatedPlatforms = [Foreign] };

    private static OfferedType Native { get; } = new() { Platforms = [Foreign] };

    [Fact]
    public async Task Info_lists_what_types_have_between_them()
    {
        await using var server = await StartAsync();
        await OfferAsync(
            server,
            Claim(
                Zen with
                {
                    Outputs = ["oci", "squashfs"],
                },
                Definitions with
                {
                    Outputs = ["oci", "sif"],
                    Recipes = [RecipeTypes.Singularity, RecipeTypes.Image],
                },
                Emulating
            )
        );

        var info = await server.Http.GetJsonAsync("_build/v1/info");

        Assert.Equal(["dockerfile", "singularity"], info["recipes"]!.AsArray().Select(r => (string)r!["type"]!));
        Assert.Equal(["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", Foreign], Words(info["platforms"]!));
        Assert.Equal([Foreign], Words(info["emulatedPlatforms"]!));
        Assert.Equal(["zen3", "zen2"], Words(info["microarchitectures"]!).Where(n => n is "zen3" or "zen2"));
        // Squashfs is offered by a type that takes no images.
        Assert.Equal(["oci", "sif"], Words(info["outputs"]!));
    }

    [Theory]
    [InlineData("?microarchitecture=zen2", true, "zen")]
    [InlineData("?microarchitecture=zen2", false, "none", "definitions", "emulating")]
    [InlineData("?platform=linux/amd64/v3", true, "zen")]
    [InlineData("?platform=linux/amd64/v3", false, "none")]
    [InlineData("definition", true, "none", "definitions")]
    [InlineData("definition", false, "none", "zen")]
    [InlineData("", false, "definitions")]
    public async Task A_node_gets_what_one_of_its_types_builds(string asked, bool fits, params string[] types)
    {
        await using var server = await StartAsync();
        // What all of it can be asked for by.
        await OfferAsync(
            server,
            Claim() with
            {
                Node = "all",
                Types = null,
                Microarchitectures = ["zen3"],
                Recipes = [RecipeTypes.Dockerfile, RecipeTypes.Singularity],
            }
        );
        using var accepted = await (asked == "definition" ? DefineAsync(server, "") : server.PostAsync(asked));
        Assert.Equal(HttpStatusCode.Accepted, accepted.StatusCode);

        var lease = await server.Node.TryClaimAsync(Claim([.. types.Select(TypeOf)]));

        Assert.Equal(fits, lease is not null);
    }

    [Fact]
    public async Task A_type_has_what_the_claim_has_where_it_does_not_say_and_nothing_where_it_says_so()
    {
        await using var server = await StartAsync();
        var claim = Claim(new OfferedType { Microarchitectures = [] }) with { Microarchitectures = ["zen3"] };
        await OfferAsync(server, claim with { Types = null });
        await server.SubmitAsync("?microarchitecture=zen3");

        Assert.Null(await server.Node.TryClaimAsync(claim));
        Assert.NotNull(await server.Node.TryClaimAsync(claim with { Types = [new OfferedType()] }));
    }

    [Stateless]
    [Theory]
    [InlineData("?microarchitecture=zen2", "the nearest is launching, which builds no recipes of type 'singularity'")]
    [InlineData("?platform=linux/arm64", "the nearest is other, which builds no recipes of type 'singularity'")]
    [InlineData("?platform=linux/riscv64", "the nearest is launching, which builds no recipes of type 'singularity'")]
    public async Task What_types_have_only_between_them_is_refused_with_what_the_nearest_lacks(
        string asked,
        string lack
    )
    {
        await using var server = await StartAsync();
        await OfferAsync(server, Claim(Zen, Definitions, Emulating));
        await OfferAsync(server, Claim(Zen) with { Node = "other", Platforms = ["linux/arm64"] });

        using var refused = await DefineAsync(server, asked);

        await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
        Assert.Contains(
            lack,
            (string)JsonNode.Parse(await refused.Content.ReadAsStringAsync(Cancel))!["errors"]![0]!["message"]!,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task What_only_an_emulating_type_builds_is_marked_and_what_another_builds_is_not()
    {
        await using var server = await StartAsync();
        await OfferAsync(server, Claim(new OfferedType { EmulatedPlatforms = [] }, Emulating));
        var emulated = await server.SubmitAsync($"?platform={Foreign}");

        Assert.Null(await server.Node.TryClaimAsync(Claim(new OfferedType())));
        await server.Node.SucceedAsync((await server.Node.TryClaimAsync(Claim(Emulating)))!);
        Assert.True((await server.GetAsync(emulated.Id)).Tasks[0].Emulated);

        // The same node has a type of that platform, and the words for it.
        var native = Native with
        {
            Backend = new Dictionary<string, IReadOnlyList<string>> { ["partition"] = ["riscv"] },
        };
        await OfferAsync(server, Claim(Emulating, native));
        var request = new JsonObject
        {
            ["backend"] = new JsonObject { ["partition"] = "riscv" },
            ["targets"] = new JsonArray(new JsonObject { ["platform"] = Foreign }),
        };
        var job = await RequestAsync(server, request);
        await server.Node.SucceedAsync((await server.Node.TryClaimAsync(Claim(Emulating, native)))!);
        Assert.Null((await server.GetAsync(job.Id)).Tasks[0].Emulated);
    }

    [Fact]
    public async Task A_type_that_emulates_waits_for_one_that_does_not_and_gets_nothing_that_must_not_be_emulated()
    {
        await using var server = await StartAsync(fakeTime: true);
        var large = Emulating with { Resources = new BuildResources { Cpus = 8 } };
        var claim = Claim(Native, large);
        await OfferAsync(server, claim);
        await OfferAsync(server, Claim(Native with { Resources = large.Resources }) with { Node = "native" });
        var request = new JsonObject
        {
            ["targets"] = new JsonArray(new JsonObject { ["platform"] = Foreign }),
            ["resources"] = new JsonObject { ["cpus"] = 8 },
        };
        var job = await RequestAsync(server, request);
        request["emulation"] = "denied";
        await RequestAsync(server, request);

        Assert.Null(await server.Node.TryClaimAsync(claim));
        server.Time!.Advance(TimeSpan.FromMinutes(5.5));
        var lease = await server.Node.TryClaimAsync(claim);
        await server.Node.SucceedAsync(lease!);
        Assert.True((await server.GetAsync(job.Id)).Tasks[0].Emulated);
        Assert.Null(await server.Node.TryClaimAsync(claim));
    }

    [Fact]
    public async Task A_registry_that_wants_no_emulation_wants_none_of_types()
    {
        await using var server = await StartAsync(o => o with { AllowEmulation = false });
        await OfferAsync(server, Claim(Emulating));
        Assert.DoesNotContain(Foreign, Words((await server.Http.GetJsonAsync("_build/v1/info"))["platforms"]!));
        await OfferAsync(server, Claim(Native));
        await server.SubmitAsync($"?platform={Foreign}");

        Assert.Null(await server.Node.TryClaimAsync(Claim(Emulating)));
        Assert.NotNull(await server.Node.TryClaimAsync(Claim(Native)));
    }

    [Fact]
    public async Task A_format_is_made_by_a_type_that_makes_it()
    {
        await using var server = await StartAsync();
        await OfferAsync(server, Claim(new OfferedType()));
        await OfferAsync(server, FormatNode.Maker);
        await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync((await server.Node.TryClaimAsync(Claim(new OfferedType())))!);
        var claim = FormatNode.Maker with { Types = [new OfferedType { Outputs = ["oci", "squashfs"] }] };

        Assert.Null(await server.Node.TryClaimAsync(claim));
        Assert.Null(
            await server.Node.TryClaimAsync(claim with { Types = [new OfferedType { Recipes = ["dockerfile"] }] })
        );
        var sif = new OfferedType { Outputs = ["oci", "sif"], Recipes = [RecipeTypes.Image] };
        Assert.NotNull(await server.Node.TryClaimAsync(Claim(new OfferedType(), sif)));
    }

    [Stateless]
    [Theory]
    [InlineData("""[{"emulatedPlatforms":["linux"]}]""")]
    [InlineData("""[{"microarchitectures":[""]}]""")]
    [InlineData("""[{"microarchitectures":[null]}]""")]
    [InlineData("""[{"recipes":"dockerfile"}]""")]
    [InlineData("""[{"outputs":[7]}]""")]
    public async Task Types_that_are_none_are_refused(string types)
    {
        await using var server = await StartAsync();
        using var wrong = await new WireNode(server.Http).ClaimAsync(
            offer: $$"""{"node":"n","platforms":["linux/amd64"],"recipes":["dockerfile"],"outputs":["oci"],"types":{{types}}}"""
        );
        await wrong.ShouldFailAsync(400, BuildErrors.RequestInvalid.Code);
    }

    [Fact]
    public async Task Types_have_a_bounded_number_of_names_between_them()
    {
        await using var server = await StartAsync();
        // Each type has the claim's.
        var many = Claim([.. Enumerable.Range(0, 64).Select(_ => new OfferedType())]) with
        {
            Microarchitectures = [.. Enumerable.Range(0, 62).Select(i => $"m{i}")],
        };
        using var refused = await new WireNode(server.Http).ClaimAsync(offer: Json(many));
        await refused.ShouldFailAsync(400, BuildErrors.RequestInvalid.Code);

        await OfferAsync(server, many with { Microarchitectures = [.. many.Microarchitectures!.Skip(1)] });
    }

    // A server that builds nothing itself.
    private static async Task<BuildServer> StartAsync(
        Func<BuildOptions, BuildOptions>? change = null,
        bool fakeTime = false
    )
    {
        var server = await BuildServer.StartAsync(change, fakeTime);
        server.Offer(NodeAbilities.None("it builds nothing itself"));
        return server;
    }

    private static OfferedType TypeOf(string word) =>
        word switch
        {
            "zen" => Zen,
            "definitions" => Definitions,
            "emulating" => Emulating,
            _ => new OfferedType(),
        };

    private static async Task OfferAsync(BuildServer server, LeaseClaim claim)
    {
        using var answer = await new WireNode(server.Http).ClaimAsync(offer: Json(claim));
        Assert.Equal(HttpStatusCode.NoContent, answer.StatusCode);
    }

    private static string Json(LeaseClaim claim) => JsonSerializer.Serialize(claim, BuildJson.Default.LeaseClaim);

    private static Task<HttpResponseMessage> DefineAsync(BuildServer server, string query) =>
        server.PostAsync(query, Definition, BuildMediaTypes.Singularity);

    private static async Task<Job> RequestAsync(BuildServer server, JsonObject request)
    {
        request["recipe"] = new JsonObject
        {
            ["mediaType"] = BuildMediaTypes.Dockerfile,
            ["data"] = Convert.ToBase64String("FROM scratch\nCOPY x /\n"u8),
        };
        using var response = await server.Http.SendAsync(
            "POST",
            $"{BuildServer.Repository}/_build/v1/jobs",
            request.Encode(),
            BuildMediaTypes.Request
        );
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync(Cancel));
        return await BuildServer.ReadAsync(response);
    }

    private static IEnumerable<string> Words(JsonNode list) => list.AsArray().Select(word => (string)word!);
}
