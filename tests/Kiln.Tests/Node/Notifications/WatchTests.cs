using System.Text;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Client.Credentials;
using Kiln.Node.Notifications;
using Kiln.Oci;

namespace Kiln.Tests.Node.Notifications;

/// <summary>From a notification to tags in a registry that knows nothing of builds.</summary>
public sealed class WatchTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Tags_come_last_and_provenance_and_log_stand_under_the_fallback_tag()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var recipe = server.PushRecipe(annotations: new() { [RecipeAnnotations.Tags] = "1.0,latest" });
        await server.TellAsync("1.0.recipe", recipe);
        var lease = await server.ClaimAsync();
        await server.Node.LogAsync(lease, "STEP 1/2: FROM scratch\n");
        await server.Node.SucceedAsync(lease);
        var build = Assert.Single(await server.SettledAsync())!;

        var puts = server
            .Registry.Requests.Where(r =>
                r.StartsWith("PUT ", StringComparison.Ordinal) && r.Contains("/manifests/", StringComparison.Ordinal)
            )
            .Select(r => r[(r.LastIndexOf('/') + 1)..])
            .ToList();
        Assert.Equal(["1.0", "latest"], puts.TakeLast(2));
        var image = Digest.Parse(build["tasks"]![0]!["manifest"]!.GetValue<string>());
        var referrers = server.ReferrersOf(image);
        Assert.Equal(
            [ProvenanceStatement.MediaType, BuildMediaTypes.Log],
            referrers.Select(r => r.ArtifactType).Order(StringComparer.Ordinal)
        );
        var statement = ProvenanceStatement.Read(Layer(server, referrers, ProvenanceStatement.MediaType), out _)!;
        Assert.Equal("kiln-node:test", statement.Predicate.RunDetails.Builder.Id);
        Assert.Equal(recipe, statement.Predicate.BuildDefinition.ExternalParameters.Recipe.Digest);
        Assert.Contains(
            "STEP 1/2",
            Encoding.UTF8.GetString(Layer(server, referrers, BuildMediaTypes.Log)),
            StringComparison.Ordinal
        );
        var entry = ManifestReader.Read(server.Registry.Manifests["latest"].Bytes, null, out _)!.Manifests.Single();
        Assert.Equal("1", entry.Annotations![HintAnnotations.UnpackedFiles]);
    }

    [Fact]
    public async Task What_is_no_recipe_or_asks_for_no_build_is_not_built()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync("image", server.PushImage("image"));
        await server.TellAsync(
            "2.recipe",
            server.PushRecipe("2.recipe", annotations: new() { [RecipeAnnotations.Trigger] = "none" })
        );

        Assert.Empty(await server.SettledAsync());
        Assert.Null(await server.Node.TryClaimAsync());
    }

    [Fact]
    public async Task With_opt_in_only_what_asks_for_it_is_built()
    {
        await using var server = await WatchedRegistryServer.StartAsync(r => r with { OptIn = true });
        await server.TellAsync("1.recipe", server.PushRecipe("1.recipe"));
        Assert.Empty(await server.SettledAsync());

        await server.TellAsync(
            "2.recipe",
            server.PushRecipe("2.recipe", annotations: new() { [RecipeAnnotations.Trigger] = "push" })
        );
        await server.Node.SucceedAsync(await server.ClaimAsync());
        Assert.Single(await server.SettledAsync());
        Assert.True(server.Registry.Manifests.ContainsKey("2"));
    }

    [Fact]
    public async Task What_the_node_pushed_itself_starts_nothing()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var recipe = server.PushRecipe();
        await server.TellAsync("1.0.recipe", recipe);
        await server.Node.SucceedAsync(await server.ClaimAsync());
        await server.SettledAsync();

        foreach (
            var name in server.Registry.Manifests.Keys.Where(name => Digest.TryParse(name, out var d) && d != recipe)
        )
        {
            await server.NotifyAsync(
                Payloads.Distribution(
                    server.Registry.Host,
                    WatchedRegistryServer.Repository,
                    null,
                    Digest.Parse(name),
                    name
                )
            );
        }

        Assert.Single(await server.SettledAsync());
        Assert.Null(await server.Node.TryClaimAsync());
    }

    [Fact]
    public async Task The_product_of_the_node_is_known_without_being_looked_at()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        await server.Node.SucceedAsync(await server.ClaimAsync());
        var index = Digest.Parse((await server.SettledAsync())[0]!["result"]!.GetValue<string>());
        await server.RestartAsync();

        var (_, text) = await server.NotifyAsync(
            Payloads.Harbor(server.Registry.Host, WatchedRegistryServer.Repository, "1.0", index)
        );

        Assert.Contains("this node has pushed it", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_told_again_is_built_once()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var digest = server.PushRecipe();
        await server.TellAsync("1.0.recipe", digest);
        await server.TellAsync("1.0.recipe", digest);
        var lease = await server.ClaimAsync();
        await server.TellAsync("1.0.recipe", digest);
        await server.Node.SucceedAsync(lease);
        await server.SettledAsync();
        await server.TellAsync("1.0.recipe", digest, "another-event");
        Assert.Single(await server.SettledAsync());
        Assert.Null(await server.Node.TryClaimAsync());

        // Somebody has taken the image away: then the recipe says what should be there.
        server.Registry.Manifests.TryRemove("1.0", out _);
        await server.TellAsync("1.0.recipe", digest, "a-third-event");
        await server.Node.SucceedAsync(await server.ClaimAsync());
        Assert.Equal(2, (await server.SettledAsync()).Count);
    }

    [Fact]
    public async Task A_failure_is_told_beside_the_recipe_and_not_repeated_by_the_same_event()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var digest = server.PushRecipe();
        await server.TellAsync("1.0.recipe", digest);
        var lease = await server.ClaimAsync();
        await server.Node.LogAsync(lease, "make: *** no rule\n");
        await server.Node.FailAsync(lease);
        var build = Assert.Single(await server.SettledAsync())!;

        Assert.Equal((BuildStates.Failed, FailureReasons.RecipeError), (Text(build, "state"), Text(build, "reason")));
        Assert.False(server.Registry.Manifests.ContainsKey("1.0"));
        var log = Assert.Single(server.ReferrersOf(digest));
        Assert.Equal(BuildMediaTypes.Log, log.ArtifactType);
        Assert.Equal("failed", log.Annotations!["org.supercontainers.build.state"]);
        Assert.Contains(
            "no rule",
            Encoding.UTF8.GetString(Layer(server, [log], BuildMediaTypes.Log)),
            StringComparison.Ordinal
        );

        await server.TellAsync("1.0.recipe", digest);
        Assert.Single(await server.SettledAsync());
    }

    [Fact]
    public async Task A_recipe_that_cannot_be_built_says_why()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        foreach (
            var (tag, text, annotations, why) in new (string, string, Dictionary<string, string>?, string)[]
            {
                (
                    "1.recipe",
                    "FROM scratch\n",
                    new() { [RecipeAnnotations.Platforms] = "linux/amd64,linux/s390x" },
                    "builds for linux/s390x"
                ),
                ("2.recipe", "nonsense", null, "cannot be read"),
                ("3.recipe", "FROM scratch\n", new() { [RecipeAnnotations.Tags] = "3.recipe" }, "the recipe's own"),
                ("4.recipe", "FROM scratch\n", new() { [RecipeAnnotations.Timeout] = "999999" }, "may run"),
            }
        )
        {
            var digest = server.PushRecipe(tag, text, annotations);
            await server.TellAsync(tag, digest);
            var build = (await server.SettledAsync())[0]!;
            Assert.Equal(BuildStates.Failed, Text(build, "state"));
            Assert.Contains(why, Text(build, "message"), StringComparison.Ordinal);
            Assert.Contains(
                why,
                server.ReferrersOf(digest).Single().Annotations!["org.supercontainers.build.message"],
                StringComparison.Ordinal
            );
        }
    }

    [Fact]
    public async Task Several_platforms_become_one_index()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync(
            "1.0.recipe",
            server.PushRecipe(annotations: new() { [RecipeAnnotations.Platforms] = "linux/amd64,linux/arm64" })
        );
        var leases = new[] { await server.ClaimAsync(), await server.ClaimAsync() };
        await server.Node.SucceedAsync(leases[1], "second");
        Assert.False(server.Registry.Manifests.ContainsKey("1.0"));
        await server.Node.SucceedAsync(leases[0], "first");
        await server.SettledAsync();

        var index = ManifestReader.Read(server.Registry.Manifests["1.0"].Bytes, null, out _)!;
        Assert.Equal(["linux/amd64", "linux/arm64"], index.Manifests.Select(m => m.Platform!.ToString()));
    }

    [Fact]
    public async Task Where_one_platform_fails_no_tag_moves_and_the_other_is_ended()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync(
            "1.0.recipe",
            server.PushRecipe(annotations: new() { [RecipeAnnotations.Platforms] = "linux/amd64,linux/arm64" })
        );
        var (first, second) = (await server.ClaimAsync(), await server.ClaimAsync());
        await server.Node.FailAsync(first);
        Assert.True((await server.HeartbeatAsync(second)).Canceled);
        await server.Node.CompleteAsync(second, new LeaseResult { State = BuildStates.Canceled });

        Assert.Equal(BuildStates.Failed, Text((await server.SettledAsync())[0]!, "state"));
        Assert.False(server.Registry.Manifests.ContainsKey("1.0"));
    }

    [Fact]
    public async Task A_product_whose_layers_are_not_what_it_says_is_refused_until_attempts_run_out()
    {
        await using var server = await WatchedRegistryServer.StartAsync(options: o => o with { MaxAttempts = 1 });
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        var lease = await server.ClaimAsync();
        var manifest = await server.Node.PushImageAsync(lease, "x", Platform.LinuxAmd64, [Digest.Of("a lie"u8)]);
        await server.Node.CompleteAsync(lease, new LeaseResult { State = BuildStates.Succeeded, Manifest = manifest });

        var build = (await server.SettledAsync())[0]!;
        Assert.Equal(FailureReasons.ResultInvalid, Text(build, "reason"));
        Assert.False(server.Registry.Manifests.ContainsKey("1.0"));
    }

    [Fact]
    public async Task The_node_speaks_to_the_registry_with_its_own_login_and_lends_it_for_named_bases_only()
    {
        var login = new OneLogin(new Login("kiln", "secret"));
        await using var server = await WatchedRegistryServer.StartAsync(r => r with { Credentials = login });
        server.Registry.Intercept = http =>
        {
            var allowed = http.Request.Headers.Authorization == "Basic a2lsbjpzZWNyZXQ=";
            if (!allowed)
            {
                http.Response.StatusCode = 401;
                http.Response.Headers.WWWAuthenticate = "Basic realm=\"site\"";
            }

            return Task.FromResult(!allowed);
        };
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        await server.Node.SucceedAsync(await server.ClaimAsync());
        Assert.Equal(BuildStates.Succeeded, Text((await server.SettledAsync())[0]!, "state"));

        var bases = new BaseLogins([
            new WatchedRegistry
            {
                Name = "a",
                Host = "r.example",
                Aliases = ["alias.example"],
                Repositories = ["hpc/**"],
                Credentials = login,
                PrivateBases = ["hpc/base/*"],
            },
        ]);
        Assert.NotNull(bases.Find("alias.example", RepositoryName.Parse("hpc/base/os")));
        Assert.Null(bases.Find("r.example", RepositoryName.Parse("hpc/secret")));
        Assert.Null(bases.Find("other.example", RepositoryName.Parse("hpc/base/os")));
        Assert.Null(bases.Find("r.example", null));
    }

    private sealed class OneLogin(Login login) : ICredentialSource
    {
        public Login? Find(string host, RepositoryName? repository) => login;
    }

    private static string Text(JsonNode node, string member) => node[member]?.GetValue<string>() ?? "";

    private static byte[] Layer(WatchedRegistryServer server, IEnumerable<Descriptor> referrers, string type)
    {
        var referrer = referrers.Single(r => r.ArtifactType == type);
        var manifest = ManifestReader.Read(server.Registry.Manifests[referrer.Digest.ToString()].Bytes, null, out _)!;
        return server.Registry.Blobs[manifest.Layers.Single().Digest.ToString()];
    }
}
