using System.Net;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>What is attached to a product: how it was made, and its log (build-extension, "Provenance and log").</summary>
public sealed class ProvenanceTests
{
    private const string BaseDigest = "sha256:0d1f1c9f5f9e6b6b8f2a6c0f7b2f52d8a3f0b1c2d3e4f5061728394a5b6c7d8e";

    [Fact]
    public async Task A_product_has_its_provenance_and_its_log_as_soon_as_the_job_is_done()
    {
        await using var server = await BuildServer.StartAsync(options: Public);
        var job = await server.SubmitAsync("?tag=1.0&arg.MESSAGE=hi&label.team=hpc&sourcedate=1700000000");
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "STEP 1: FROM scratch\n");
        await SucceedAsync(server, lease);

        var done = await server.GetAsync(job.Id);
        var output = Assert.Single(done.Result!.Outputs);
        var (_, info, text) = await AttachedAsync(server, Assert.Single(output.Provenance!));
        Assert.Equal(ProvenanceStatement.MediaType, info.ArtifactType);
        Assert.Equal(MediaTypes.OciEmpty, info.Config!.MediaType);
        Assert.Equal(output.Manifest.Digest, info.Subject!.Digest);
        Assert.Equal(ProvenanceStatement.SlsaProvenance, info.Layers[0].Annotations!["in-toto.io/predicate-type"]);

        var statement = ProvenanceStatement.Read(text, out var fault);
        Assert.Null(fault);
        Assert.True(statement!.Subject[0].Is(output.Manifest.Digest));
        Assert.Equal($"registry.example.org/{BuildServer.Repository}", statement.Subject[0].Name);
        var parameters = statement.Predicate.BuildDefinition.ExternalParameters;
        Assert.Equal(done.Recipe.Digest, parameters.Recipe.Digest);
        Assert.Equal(
            ("linux/amd64", "hi", "hpc"),
            (parameters.Platform, parameters.Args["MESSAGE"], parameters.Labels["team"])
        );
        Assert.Equal(1700000000, parameters.Reproducible!.SourceDateEpoch);
        Assert.Equal(done.Tasks[0].Key, statement.Predicate.BuildDefinition.InternalParameters!.Key);

        var (_, log, written) = await AttachedAsync(server, output.Log!);
        Assert.Equal(BuildMediaTypes.Log, log.ArtifactType);
        Assert.Equal(await server.LogAsync(job.Id), Encoding.UTF8.GetString(written));
        Assert.True(statement.Predicate.RunDetails.Byproducts![0].Is(log.Layers[0].Digest));
    }

    [Fact]
    public async Task The_statement_names_everything_that_went_in_by_digest()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0", "FROM docker.io/library/alpine:3.20\n");
        await SucceedAsync(server, await server.Node.ClaimAsync());

        var done = await server.GetAsync(job.Id);
        var statement = await StatementAsync(server, done);
        var materials = statement.Predicate.BuildDefinition.ResolvedDependencies;
        Assert.Equal(["recipe", "recipe-layer", "base"], materials.Select(m => m.Name));
        Assert.True(materials[0].Is(done.Recipe.Digest));
        Assert.Equal(("docker://alpine", true), (materials[2].Uri, materials[2].Is(Digest.Parse(BaseDigest))));
        using var recipe = await server.Http.GetAsync(new Uri(materials[0].Uri!));
        using var layer = await server.Http.GetAsync(new Uri(materials[1].Uri!));
        Assert.Equal((HttpStatusCode.OK, HttpStatusCode.OK), (recipe.StatusCode, layer.StatusCode));
        Assert.Equal("FROM docker.io/library/alpine:3.20\n", await layer.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Whoever_lists_referrers_finds_both()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        var types = (await ReferrersAsync(server, await ProductAsync(server, job))).Select(d => d.ArtifactType);
        Assert.Equal(
            [ProvenanceStatement.MediaType, BuildMediaTypes.Hints, BuildMediaTypes.Log],
            types.Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task A_shared_and_a_reused_build_have_one_provenance()
    {
        await using var server = await BuildServer.StartAsync();
        var first = await server.SubmitAsync("?tag=1.0");
        var shared = await server.SubmitAsync("?tag=2.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        var reused = await server.SubmitAsync("?tag=3.0");

        var outputs = new List<JobResultOutput>();
        foreach (var job in new[] { first, shared, reused })
        {
            outputs.Add((await server.GetAsync(job.Id)).Result!.Outputs[0]);
        }

        Assert.Single(outputs.Select(o => (o.Provenance![0].Digest, o.Log!.Digest)).Distinct());
        Assert.Equal(3, (await ReferrersAsync(server, outputs[0].Manifest.Digest)).Count);
    }

    [Fact]
    public async Task A_refresh_that_finds_the_same_bases_names_the_first_provenance()
    {
        await using var server = await BuildServer.StartAsync();
        var first = await server.SubmitAsync("?tag=1.0");
        await SucceedAsync(server, await server.Node.ClaimAsync());
        var again = await server.SubmitAsync("?tag=1.0&cache=refresh");
        var lease = await server.Node.ClaimAsync();
        var earlier = Assert.Single(lease.Task.Earlier!);
        await server.Node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = earlier.Manifest,
                ResolvedDependencies = earlier.ResolvedDependencies,
            }
        );

        var before = (await server.GetAsync(first.Id)).Result!.Outputs[0];
        var after = (await server.GetAsync(again.Id)).Result!.Outputs[0];
        Assert.Equal(before.Provenance![0].Digest, after.Provenance![0].Digest);
        Assert.Equal(3, (await ReferrersAsync(server, before.Manifest.Digest)).Count);
    }

    [Fact]
    public async Task Nothing_is_attached_to_what_failed()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var image = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform);
        await server.Node.FailAsync(lease);

        Assert.Null((await server.GetAsync(job.Id)).Result);
        Assert.Empty(await ReferrersAsync(server, image.Digest));
    }

    [Fact]
    public async Task What_was_made_for_a_publication_that_failed_is_left_to_the_collector()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("it looks into the data directory");
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var result = new LeaseResult
        {
            State = BuildStates.Succeeded,
            Manifest = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform),
        };

        // Asked for first when a tag is set.
        await server.BreakAsync("tag_bases");
        await Assert.ThrowsAnyAsync<Exception>(() =>
            server.Coordinator.CompleteAsync(lease, result, TestContext.Current.CancellationToken)
        );

        var known = server
            .Services.GetRequiredService<Database>()
            .Read(c => c.Query("SELECT digest FROM blobs", row => row.GetString(0)));
        var stored = Directory
            .EnumerateFiles(Path.Combine(server.DataDirectory, "blobs", "sha256"), "*", SearchOption.AllDirectories)
            .Select(file => "sha256:" + Path.GetFileName(file));
        Assert.Empty(stored.Except(known, StringComparer.Ordinal));

        await server.MendAsync("tag_bases");
        Assert.True(await server.Coordinator.CompleteAsync(lease, result, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Secrets_are_neither_in_the_statement_nor_in_the_log()
    {
        await using var server = await BuildServer.StartAsync();
        var reference = await server.SecretAsync("hunter2-hunter2");
        var job = await server.SubmitAsync($"?tag=1.0&secret.netrc={reference}&arg.netrc=beside&arg.A=b");
        var lease = await server.Node.ClaimAsync();
        // Held back until the end, since it may go on: what is attached is the whole log all the same.
        await server.Node.LogAsync(lease, "login hunter2-hunter2\nlast hunter2-");
        await server.Node.SucceedAsync(lease);

        var output = (await server.GetAsync(job.Id)).Result!.Outputs[0];
        var statement = Encoding.UTF8.GetString((await AttachedAsync(server, output.Provenance![0])).Text);
        Assert.DoesNotContain("hunter2", statement, StringComparison.Ordinal);
        Assert.DoesNotContain("netrc", statement, StringComparison.Ordinal);
        Assert.Contains("\"usesSecrets\":true", statement, StringComparison.Ordinal);
        Assert.Contains("\"A\":\"b\"", statement, StringComparison.Ordinal);
        var log = Encoding.UTF8.GetString((await AttachedAsync(server, output.Log!)).Text);
        Assert.Equal(await server.LogAsync(job.Id), log);
        Assert.EndsWith("login ***\nlast hunter2-", log, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_builder_is_who_its_credential_says_at_the_registrys_public_address()
    {
        await using var own = await BuildServer.StartAsync(options: Public);
        var job = await own.SubmitAsync("?tag=1.0");
        await own.Node.SucceedAsync(await own.Node.ClaimAsync());
        var run = (await StatementAsync(own, await own.GetAsync(job.Id))).Predicate.RunDetails;
        Assert.Equal("https://registry.example.org/v2/_build/v1/node", run.Builder.Id);
        Assert.Equal($"https://registry.example.org{job.Href}", run.Metadata.InvocationId);

        await using var remote = await BuildServer.StartAsync(remote: true, options: Public);
        var other = await remote.SubmitAsync("?tag=1.0");
        await remote.Node.SucceedAsync(await remote.Node.ClaimAsync());
        var done = await remote.GetAsync(other.Id);
        var id = (await StatementAsync(remote, done)).Predicate.RunDetails.Builder.Id;
        Assert.Equal(
            $"https://registry.example.org/v2/_build/v1/nodes/{Uri.EscapeDataString(done.Tasks[0].Node!)}",
            id
        );
        Assert.NotEqual("test-node", done.Tasks[0].Node);
    }

    [Fact]
    public async Task Without_a_public_address_a_registry_is_called_by_one_that_it_listens_on()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        var id = (await StatementAsync(server, await server.GetAsync(job.Id))).Predicate.RunDetails.Builder.Id;
        Assert.Matches("^http://127\\.0\\.0\\.1:[0-9]+/v2/_build/v1/node$", id);
    }

    [Fact]
    public async Task A_quota_counts_what_is_attached_and_refuses_all_of_it_or_nothing()
    {
        await using var server = await BuildServer.StartAsync(options: o =>
            o with
            {
                Quotas = new QuotaOptions { Rules = [new QuotaRule { Repositories = ["hpc/**"], MaxBytes = 2500 }] },
            }
        );
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var image = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform);
        await server.Node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = image,
                ResolvedDependencies = [],
            }
        );

        var done = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.PolicyDenied), (done.State, done.Reason));
        Assert.Contains("quota", done.Message, StringComparison.Ordinal);
        using var response = await server.Http.GetAsync(
            new Uri($"{BuildServer.Repository}/manifests/{image.Digest}", UriKind.Relative)
        );
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        Assert.Empty(await ReferrersAsync(server, image.Digest));
    }

    private static ServerOptions Public(ServerOptions options) =>
        options with
        {
            Access = options.Access with { PublicUrl = "https://registry.example.org/" },
        };

    private static Task SucceedAsync(BuildServer server, Lease lease) => SucceedAsync(server, lease, "hello");

    private static async Task SucceedAsync(BuildServer server, Lease lease, string content) =>
        await server.Node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = await server.Node.PushImageAsync(lease, content, lease.Task.Platform),
                ResolvedDependencies =
                [
                    new ResolvedDependency { Uri = "docker://alpine", Digest = Digest.Parse(BaseDigest) },
                ],
            }
        );

    private static async Task<Digest> ProductAsync(BuildServer server, Job job) =>
        (await server.GetAsync(job.Id)).Result!.Outputs[0].Manifest.Digest;

    private static async Task<ProvenanceStatement> StatementAsync(BuildServer server, Job done)
    {
        var (_, _, text) = await AttachedAsync(server, done.Result!.Outputs[0].Provenance![0]);
        return ProvenanceStatement.Read(text, out var fault) ?? throw new InvalidDataException(fault);
    }

    // The manifest and its one blob, as anybody pulls them.
    private static async Task<(byte[] Manifest, ManifestInfo Info, byte[] Text)> AttachedAsync(
        BuildServer server,
        Descriptor attached
    )
    {
        var manifest = await server.Http.GetByteArrayAsync(
            new Uri($"{BuildServer.Repository}/manifests/{attached.Digest}", UriKind.Relative)
        );
        Assert.Equal((attached.Digest, attached.Size), (Digest.Of(manifest), manifest.Length));
        var info = ManifestReader.Read(manifest, null, out _)!;
        Assert.Equal(attached.ArtifactType, info.ArtifactType);
        var text = await server.Http.GetByteArrayAsync(
            new Uri($"{BuildServer.Repository}/blobs/{Assert.Single(info.Layers).Digest}", UriKind.Relative)
        );
        Assert.Equal(info.Layers[0].Size, text.Length);
        return (manifest, info, text);
    }

    private static async Task<IReadOnlyList<Descriptor>> ReferrersAsync(BuildServer server, Digest subject) =>
        JsonSerializer
            .Deserialize(
                await server.Http.GetByteArrayAsync(
                    new Uri($"{BuildServer.Repository}/referrers/{subject}", UriKind.Relative)
                ),
                OciJson.Default.ImageIndex
            )!
            .Manifests;
}
