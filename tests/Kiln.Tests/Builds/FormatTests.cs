using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>What is made of finished images: as executions of their own, attached and tagged (build-extension, section 18).</summary>
public sealed class FormatTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Formats_are_made_of_the_image_once_it_is_there_and_delivered_with_it(bool remote)
    {
        await using var server = await StartAsync(remote);
        var job = await server.SubmitAsync("?tag=1.0&tag=latest&output=sif,squashfs:lz4,single-layer:zstd");
        Assert.Null(await server.Node.TryClaimAsync(FormatNode.Maker));
        var image = (await server.Node.SucceedAsync(await server.Node.ClaimAsync())).Manifest!;

        var waits = await server.GetAsync(job.Id);
        Assert.Equal(
            [(null, "oci"), ("t1", "sif"), ("t1", "squashfs"), ("t1", "single-layer")],
            waits.Tasks.Select(t => (t.Source, t.Format))
        );
        Assert.Equal((false, "running"), (waits.Done, waits.State));
        Assert.Null(await server.TagAsync("1.0"));
        // Who builds only is not asked.
        Assert.Null(await server.Node.TryClaimAsync());
        await FormatNode.MakeAsync(server, "sif");
        await FormatNode.MakeAsync(server, "squashfs");
        await FormatNode.MakeAsync(server, "single-layer");

        var done = await server.GetAsync(job.Id);
        Assert.True(done.State == "succeeded", done.Message);
        Assert.Equal(["1.0", "latest"], done.Result!.Tags);
        Assert.Equal(
            ["", "1.0-sif latest-sif", "1.0-squashfs latest-squashfs", "1.0-single-layer latest-single-layer"],
            done.Result.Outputs.Select(o => string.Join(' ', o.Tags ?? []))
        );
        foreach (var output in done.Result.Outputs.Skip(1))
        {
            var manifest = await server.TagAsync(output.Tags![0]);
            Assert.Equal(image.Digest, manifest!.Subject!.Digest);
            Assert.Single(manifest.Layers);
            Assert.Equal(output.Format, manifest.Annotations!["org.supercontainers.build.format"]);
            Assert.NotNull(output.Log);
            Assert.Single(output.Provenance!);
        }

        Assert.Equal([image.Digest], (await server.TagAsync("1.0"))!.Manifests.Select(m => m.Digest));
        var referrers = await server.Http.GetStringAsync(
            new Uri($"{BuildServer.Repository}/referrers/{image.Digest}", UriKind.Relative)
        );
        Assert.Contains(BuildMediaTypes.Squashfs, referrers, StringComparison.Ordinal);
        // The config's type, where there is no other.
        Assert.Contains("vnd.sylabs.sif.config.v1", referrers, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_was_made_of_an_image_is_the_answer_whatever_it_was_built_from()
    {
        await using var server = await StartAsync();
        await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await FormatNode.MakeAsync(server, "sif");
        var other = await server.SubmitAsync("?tag=2.0&output=sif", BuildServer.Containerfile + "# another recipe\n");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        var done = await server.GetAsync(other.Id);
        Assert.Equal("succeeded", done.State);
        Assert.Equal([false, true], done.Tasks.Select(t => t.Cached));
        Assert.NotNull(await server.TagAsync("2.0-sif"));
        // And all of it where the recipe is the same.
        using var again = await server.PostAsync("?tag=3.0&output=sif");
        Assert.Equal("succeeded", (await BuildServer.ReadAsync(again)).State);
        Assert.NotNull(await server.TagAsync("3.0-sif"));
        // Packed otherwise it is another.
        var gzip = await server.SubmitAsync("?tag=3.0&output=sif:gzip");
        Assert.Equal("running", gzip.State);
        Assert.NotNull(await server.Node.TryClaimAsync(FormatNode.Maker));
    }

    [Fact]
    public async Task Each_of_several_targets_has_a_tag_of_its_own()
    {
        await using var server = await StartAsync();
        var job = await server.SubmitAsync("?tag=1.0&platform=linux/amd64,linux/amd64/v3,linux/arm64&output=sif");
        for (var i = 0; i < 3; i++)
        {
            await server.Node.SucceedAsync(await server.Node.ClaimAsync(), $"{i}");
            await FormatNode.MakeAsync(server, "sif");
        }

        var done = await server.GetAsync(job.Id);
        Assert.Equal("succeeded", done.State);
        Assert.Equal(
            ["1.0-sif-amd64", "1.0-sif-amd64-v3", "1.0-sif-arm64"],
            done.Result!.Outputs.SelectMany(o => o.Tags ?? []).Order(StringComparer.Ordinal)
        );
        Assert.Null(await server.TagAsync("1.0-sif"));
        Assert.Equal(3, (await server.TagAsync("1.0"))!.Manifests.Count);
    }

    [Fact]
    public async Task Flattened_image_stands_in_the_place_of_the_one_that_was_built()
    {
        await using var server = await StartAsync();
        var job = await server.SubmitAsync("?tag=1.0&flatten=true&output=single-layer");
        var lease = await server.Node.ClaimAsync();
        var built = await FormatNode.ForeignImageAsync(server, lease);
        await FormatNode.MakeAsync(server, "single-id");
        await FormatNode.MakeAsync(server, "single-layer");

        var done = await server.GetAsync(job.Id);
        Assert.True(done.State == "succeeded", done.Message);
        Assert.Equal(
            [(null, "oci"), ("t1", "single-id"), ("t2", "single-layer")],
            done.Tasks.Select(t => (t.Source, t.Format))
        );
        var entry = Assert.Single((await server.TagAsync("1.0"))!.Manifests);
        Assert.NotEqual(built.Digest, entry.Digest);
        Assert.Equal("uids=1;gids=1;setid=0;caps=0", entry.Annotations!["org.supercontainers.ids"]);
        Assert.Equal("required", entry.Annotations["org.supercontainers.flatten.ownership"]);
        Assert.Equal(
            "entries=3;owners=1;setid=1;caps=1;acls=0;modes=0;devices=0",
            entry.Annotations["org.supercontainers.flatten.changes"]
        );
        var changed = done.Result!.Outputs[0].Flattening!;
        Assert.Equal((3, 1, 0), (changed.Entries, changed.LayersChanged, changed.LayersKept));
        Assert.Equal(["su"], changed.SetIdFiles);
        Assert.Equal(entry.Digest, (await server.TagAsync("1.0-single-layer"))!.Subject!.Digest);
        var log = await server.LogAsync(job.Id, "?task=t2");
        Assert.Contains("set-id bits taken from su", log, StringComparison.Ordinal);
        Assert.Contains("1 layers have another digest", log, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Image_that_still_has_other_ids_is_not_taken_for_flattened()
    {
        await using var server = await StartAsync(attempts: 1);
        var job = await server.SubmitAsync("?tag=1.0&flatten=1");
        var built = await FormatNode.ForeignImageAsync(server, await server.Node.ClaimAsync());
        var lease = (await server.Node.TryClaimAsync(FormatNode.Maker))!;

        await server.Node.CompleteAsync(lease, new LeaseResult { State = BuildStates.Succeeded, Manifest = built });

        var failed = await server.GetAsync(job.Id);
        Assert.Equal(("failed", "result-invalid"), (failed.State, failed.Reason));
        Assert.Contains("other ids than 0", failed.Message, StringComparison.Ordinal);
        Assert.Null(await server.TagAsync("1.0"));
    }

    [Theory]
    [InlineData("subject", "subject is not the image")]
    [InlineData("config", "a sif has a config of type")]
    [InlineData("layers", "has 2 layers")]
    [InlineData("content", "is no sif")]
    public async Task Product_that_is_not_what_it_is_called_is_refused(string lie, string why)
    {
        await using var server = await StartAsync(attempts: 1);
        var job = await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        var lease = (await server.Node.TryClaimAsync(FormatNode.Maker))!;

        await server.Node.CompleteAsync(lease, await FormatNode.SifAsync(server, lease, lie));

        var failed = await server.GetAsync(job.Id);
        Assert.Equal(("failed", "result-invalid"), (failed.State, failed.Reason));
        Assert.Contains(why, failed.Message, StringComparison.Ordinal);
        Assert.Null(await server.TagAsync("1.0"));
        Assert.Null(await server.TagAsync("1.0-sif"));
    }

    [Fact]
    public async Task Lease_attaches_to_its_own_image_only()
    {
        await using var server = await StartAsync(remote: true);
        await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        var lease = (await server.Node.TryClaimAsync(FormatNode.Maker))!;

        var fault = await Assert.ThrowsAnyAsync<Exception>(() =>
            FormatNode.SifAsync(server, lease, "", subject: Digest.Of("another"u8))
        );

        Assert.Contains("attaches nothing", fault.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, int, string, string> Refused =>
        new()
        {
            { "?output=iso", 422, "BUILD_OUTPUT_UNSUPPORTED", "'iso' is not an output format" },
            { "?output=single-id", 422, "BUILD_OUTPUT_UNSUPPORTED", "'single-id' is not an output format" },
            { "?output=sif:xz", 422, "BUILD_OUTPUT_UNSUPPORTED", "zstd, gzip, lz4" },
            { "?output=oci:lz4", 422, "BUILD_OUTPUT_UNSUPPORTED", "gzip, zstd" },
            { "?tag=1&output=sif,sif:gzip", 400, "BUILD_REQUEST_INVALID", "twice" },
            { "?tag=1&tag=1-sif&output=sif", 400, "BUILD_REQUEST_INVALID", "'1-sif'" },
            { $"?tag={new string('t', 126)}&output=sif", 400, "BUILD_REQUEST_INVALID", "is not a tag" },
        };

    [Stateless]
    [Theory]
    [MemberData(nameof(Refused))]
    public async Task What_cannot_be_is_refused_before_anything_is_built(
        string query,
        int status,
        string code,
        string why
    )
    {
        await using var server = await StartAsync();
        using var refused = await server.PostAsync(query);

        var error = await refused.ShouldFailAsync(status, code);

        Assert.Contains(why, error, StringComparison.Ordinal);
        Assert.Empty(await server.JobsAsync());
    }

    [Fact]
    public async Task Format_that_no_node_makes_is_refused_with_what_it_would_take()
    {
        await using var server = await BuildServer.StartAsync();
        using (var refused = await server.PostAsync("?tag=1.0&output=sif"))
        {
            Assert.Contains(
                "it takes one with mksquashfs",
                await refused.ShouldFailAsync(422, "BUILD_OUTPUT_UNSUPPORTED"),
                StringComparison.Ordinal
            );
        }

        using (var refused = await server.PostAsync("?tag=1.0&flatten=1"))
        {
            await refused.ShouldFailAsync(422, "BUILD_OUTPUT_UNSUPPORTED");
        }

        // Another node has the tools.
        await server.Node.TryClaimAsync(FormatNode.Maker);
        using var info = await server.Http.GetAsync(new Uri("_build/v1/info", UriKind.Relative));
        var said = JsonSerializer.Deserialize(await info.Content.ReadAsByteArrayAsync(), BuildJson.Default.BuildInfo)!;
        Assert.Equal(["oci"], said.Outputs);
    }

    [Fact]
    public async Task Side_tags_are_held_against_the_policy_of_the_request_too()
    {
        await using var server = await StartAsync();
        await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await FormatNode.MakeAsync(server, "sif");
        using (
            var gone = await server.Http.DeleteAsync(
                new Uri($"{BuildServer.Repository}/manifests/1.0", UriKind.Relative)
            )
        )
        {
            Assert.True(gone.IsSuccessStatusCode);
        }

        using var refused = await server.PostAsync("?tag=1.0&output=sif&tagpolicy=create-only");

        Assert.Contains("1.0-sif", await refused.ShouldFailAsync(409, "BUILD_STATE_INVALID"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cancelled_and_failed_formats_deliver_nothing()
    {
        await using var server = await StartAsync();
        var first = await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await server.Node.FailAsync((await server.Node.TryClaimAsync(FormatNode.Maker))!, FailureReasons.LimitExceeded);
        Assert.Equal("failed", (await server.GetAsync(first.Id)).State);
        Assert.Null(await server.TagAsync("1.0"));

        var second = await server.SubmitAsync("?tag=1.0&output=sif");
        Assert.Equal([true, false], second.Tasks.Select(t => t.Cached));
        using var canceled = await server.Http.DeleteAsync(BuildServer.JobUri(second.Id));
        Assert.Equal("canceled", (await server.GetAsync(second.Id)).State);
        Assert.Null(await server.Node.TryClaimAsync(FormatNode.Maker));
    }

    [Fact]
    public async Task No_tag_moves_where_one_may_not()
    {
        await using var server = await StartAsync(maxTags: 1);
        var job = await server.SubmitAsync("?tag=1.0&output=sif");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await FormatNode.MakeAsync(server, "sif");

        var failed = await server.GetAsync(job.Id);
        Assert.Equal(("failed", "policy-denied"), (failed.State, failed.Reason));
        Assert.Null(await server.TagAsync("1.0"));
        Assert.Null(await server.TagAsync("1.0-sif"));
        // What was undone did not count either.
        var plain = await server.SubmitAsync("?tag=1.0");
        Assert.Equal("succeeded", plain.State);
    }

    [Fact]
    public async Task Of_a_partial_job_only_targets_with_all_of_their_formats_are_delivered()
    {
        await using var server = await StartAsync(attempts: 1);
        var job = await server.SubmitAsync("?tag=1.0&partial=1&output=sif&platform=linux/amd64,linux/arm64");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        var (kept, lost) = (await MakerAsync(server), await MakerAsync(server));
        await server.Node.FailAsync(lost, FailureReasons.LimitExceeded);
        await server.Node.CompleteAsync(kept, await FormatNode.SifAsync(server, kept, ""));

        var done = await server.GetAsync(job.Id);
        Assert.Equal("succeeded", done.State);
        var platform = Assert.Single((await server.TagAsync("1.0"))!.Manifests).Platform!;
        Assert.Equal(kept.Task.Platform, platform);
        Assert.Equal([$"{platform}", $"{platform}"], done.Result!.Outputs.Select(o => o.Platform));
    }

    [Fact]
    public async Task A_partial_job_of_which_nothing_could_be_flattened_fails()
    {
        await using var server = await StartAsync(attempts: 1);
        var job = await server.SubmitAsync("?tag=1.0&partial=1&flatten=1");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await server.Node.FailAsync(await MakerAsync(server), FailureReasons.LimitExceeded);

        Assert.Equal("failed", (await server.GetAsync(job.Id)).State);
        Assert.Null(await server.TagAsync("1.0"));
    }

    private static async Task<Lease> MakerAsync(BuildServer server) =>
        (await server.Node.TryClaimAsync(FormatNode.Maker))!;

    private static async Task<BuildServer> StartAsync(bool remote = false, int? attempts = null, long? maxTags = null)
    {
        var server = await BuildServer.StartAsync(
            b => attempts is { } most ? b with { MaxAttempts = most } : b,
            options: o =>
                maxTags is null
                    ? o
                    : o with
                    {
                        Quotas = new QuotaOptions
                        {
                            Rules = [new QuotaRule { Repositories = ["hpc/**"], MaxTags = maxTags }],
                        },
                    },
            remote: remote
        );
        server.Offer(server.Status.Abilities with { Outputs = FormatNode.All });
        return server;
    }
}
