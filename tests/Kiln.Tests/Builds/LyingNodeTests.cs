using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>
/// The lease protocol as it is on the wire, and a node that lies: each lie is refused, and the job goes on to its next
/// attempt.
/// </summary>
public sealed class LyingNodeTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_claim_says_where_to_build_what_and_with_what_credential()
    {
        await using var server = await BuildServer.StartAsync();
        var node = new WireNode(server.Http);
        using (var nothing = await node.ClaimAsync())
        {
            Assert.Equal(HttpStatusCode.NoContent, nothing.StatusCode);
            Assert.NotNull(nothing.Headers.RetryAfter);
        }

        var job = await server.SubmitAsync("?tag=1.0&arg.A=b");
        var lease = await node.LeaseAsync();
        var document = lease.Document;
        Assert.Equal($"{job.Href}/leases/{document["id"]}", lease.Path);
        Assert.Equal(job.Href, (string)document["job"]!);
        Assert.Equal("t1", (string)document["taskId"]!);
        Assert.Equal(1, (int)document["attempt"]!);
        Assert.Equal("b", (string)document["task"]!["args"]!["A"]!);
        Assert.Equal(server.Host, (string)document["push"]!["registry"]!);
        Assert.Equal(BuildServer.Repository, (string)document["push"]!["repository"]!);
        Assert.Equal("_lease", (string)document["auth"]!["username"]!);
        Assert.Equal(lease.Token, (string)document["auth"]!["password"]!);
    }

    [Fact]
    public async Task A_claim_for_a_job_that_has_nothing_is_refused_and_one_in_a_repository_gets_its_own()
    {
        await using var server = await BuildServer.StartAsync();
        var node = new WireNode(server.Http);
        var job = await server.SubmitAsync("?tag=1.0");
        using (var other = await node.ClaimAsync(path: "hpc/other/_build/v1/leases"))
        {
            Assert.Equal(HttpStatusCode.NoContent, other.StatusCode);
        }

        using (var none = await node.ClaimAsync(path: "_build/v1/leases?job=0190a0b0c0d0e0f0a0b0c0"))
        {
            await none.ShouldFailAsync(409, "BUILD_STATE_INVALID");
        }

        using (var mine = await node.ClaimAsync(path: $"{BuildServer.Repository}/_build/v1/leases?job={job.Id}"))
        {
            Assert.Equal(HttpStatusCode.Created, mine.StatusCode);
        }

        using var taken = await node.ClaimAsync(path: $"_build/v1/leases?job={job.Id}");
        await taken.ShouldFailAsync(409, "BUILD_STATE_INVALID");
    }

    [Fact]
    public async Task A_claim_that_is_repeated_gets_its_lease_again_and_another_under_its_key_nothing()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var node = new WireNode(server.Http);
        await server.SubmitAsync("?tag=1.0");
        await server.SubmitAsync("?tag=2.0&arg.A=1");
        var key = ("Idempotency-Key", "c0ffee");
        using var first = await node.ClaimAsync(headers: key);
        using var second = await node.ClaimAsync(headers: key);
        var (one, two) = (await JsonAsync(first), await JsonAsync(second));
        Assert.Equal((string)one["id"]!, (string)two["id"]!);
        Assert.Equal(HttpStatusCode.Created, second.StatusCode);

        // The first answer was lost, and so is its credential.
        var path = second.Headers.Location!.ToString();
        using (var old = await node.SendAsync("Bearer " + one["auth"]!["token"], "PATCH", path, "{}"u8.ToArray()))
        {
            await old.ShouldFailAsync(401, "UNAUTHORIZED");
        }

        using (var good = await node.SendAsync("Bearer " + two["auth"]!["token"], "PATCH", path, "{}"u8.ToArray()))
        {
            Assert.Equal(HttpStatusCode.OK, good.StatusCode);
        }

        const string other =
            """{"node":"build04","platforms":["linux/amd64"],"recipes":["dockerfile"],"outputs":["oci"]}""";
        using (var conflict = await node.ClaimAsync(offer: other, headers: key))
        {
            await conflict.ShouldFailAsync(422, "BUILD_IDEMPOTENCY_CONFLICT");
        }

        server.Time!.Advance(TimeSpan.FromSeconds(31));
        using var late = await node.ClaimAsync(headers: key);
        await late.ShouldFailAsync(409, "BUILD_LEASE_LOST");
    }

    [Stateless]
    [Theory]
    [InlineData("""{"node":"a b","platforms":["linux/amd64"],"recipes":["dockerfile"],"outputs":["oci"]}""")]
    [InlineData("""{"node":"a","platforms":[],"recipes":["dockerfile"],"outputs":["oci"]}""")]
    [InlineData("""{"node":"a","platforms":["linux"],"recipes":["dockerfile"],"outputs":["oci"]}""")]
    [InlineData("""{"node":"a","platforms":["linux/amd64"],"recipes":[null],"outputs":["oci"]}""")]
    [InlineData("""{"node":"a","platforms":["linux/amd64"],"recipes":["x"],"outputs":["oci"],"leaseSeconds":0}""")]
    [InlineData("""{"node":"a"}""")]
    [InlineData("null")]
    [InlineData("{")]
    public async Task A_claim_that_cannot_be_meant_is_400(string offer)
    {
        await using var server = await BuildServer.StartAsync();
        using var refused = await new WireNode(server.Http).ClaimAsync(offer: offer);
        await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
    }

    [Fact]
    public async Task A_heartbeat_tells_how_long_the_lease_lives_and_of_a_cancel()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await new WireNode(server.Http).LeaseAsync();
        var beat = await JsonAsync(await lease.BeatAsync("""{"phase":"scheduled","leaseSeconds":600}"""));
        Assert.Equal(server.Time!.GetUtcNow().AddSeconds(600), (DateTimeOffset)beat["expires"]!);
        Assert.Equal(lease.Token, (string)beat["auth"]!["token"]!);
        Assert.False((bool)beat["canceled"]!);
        server.Time.Advance(TimeSpan.FromSeconds(599));
        Assert.False((bool)(await JsonAsync(await lease.BeatAsync()))["canceled"]!);

        using var cancel = await server.Http.DeleteAsync(BuildServer.JobUri(job.Id), Cancel);
        Assert.True((bool)(await JsonAsync(await lease.BeatAsync()))["canceled"]!);
        using var ended = await lease.ResultAsync("""{"state":"canceled"}""");
        Assert.Equal("canceled", (string)(await JsonAsync(ended))["state"]!);
        using var late = await lease.BeatAsync();
        await late.ShouldFailAsync(410, "BUILD_LEASE_LOST");
        using var bad = await lease.BeatAsync("""{"phase":"Not a word"}""");
        await bad.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
    }

    [Fact]
    public async Task Log_ranges_may_repeat_and_neither_skip_nor_overlap()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await new WireNode(server.Http).LeaseAsync();
        using (var none = await lease.ReceivedAsync())
        {
            Assert.Equal(HttpStatusCode.NoContent, none.StatusCode);
            Assert.Null(none.Header("Range"));
        }

        await ShouldTakeAsync(lease.LogAsync("0-3", "one\n"), "0-3");
        await ShouldTakeAsync(lease.LogAsync("0-3", "one\n"), "0-3");
        foreach (
            var (range, text) in new[] { ("0-3", "two\n"), ("2-5", "wo\nx"), ("0-7", "one\ntwo\n"), ("5-8", "wo\nx") }
        )
        {
            using var refused = await lease.LogAsync(range, text);
            Assert.Equal("0-3", refused.Header("Range"));
            await refused.ShouldFailAsync(416, "BUILD_LOG_RANGE_INVALID");
        }

        foreach (var range in new[] { "4-6", "x", "7-4" })
        {
            using var refused = await lease.LogAsync(range, "two\n");
            await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
        }

        await ShouldTakeAsync(lease.LogAsync("4-7", "two\n"), "0-7");
        using (var received = await lease.ReceivedAsync())
        {
            Assert.Equal("0-7", received.Header("Range"));
        }

        Assert.EndsWith("one\ntwo\n", await server.LogAsync(job.Id), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_log_that_is_too_long_is_413_and_the_build_goes_on()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxLogBytes = 200 });
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await new WireNode(server.Http).LeaseAsync();
        using (var full = await lease.LogAsync("0-299", new string('x', 300)))
        {
            await full.ShouldFailAsync(413, "BUILD_LOG_RANGE_INVALID");
        }

        using (var still = await lease.LogAsync("300-303", "more"))
        {
            await still.ShouldFailAsync(413, "BUILD_LOG_RANGE_INVALID");
        }

        using var done = await lease.ResultAsync(WireLease.Succeeded(await lease.PushImageAsync()));
        Assert.True((bool)(await JsonAsync(done))["published"]!);
        Assert.Contains("the rest was dropped", await server.LogAsync(job.Id));
    }

    [Fact]
    public async Task A_result_is_taken_once_and_its_repetition_again()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await new WireNode(server.Http).LeaseAsync();
        var result = WireLease.Succeeded(await lease.PushImageAsync(reference: lease.StagingTag));
        for (var i = 0; i < 2; i++)
        {
            using var taken = await lease.ResultAsync(result);
            var answer = await JsonAsync(taken);
            Assert.Equal(("succeeded", true), ((string)answer["state"]!, (bool)answer["published"]!));
        }

        using var other = await lease.ResultAsync("""{"state":"failed","reason":"recipe-error"}""");
        await other.ShouldFailAsync(409, "BUILD_STATE_INVALID");
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
        using var tag = await server.Http.GetAsync(
            new Uri($"{BuildServer.Repository}/manifests/{lease.StagingTag}", UriKind.Relative),
            Cancel
        );
        Assert.Equal(HttpStatusCode.NotFound, tag.StatusCode);
    }

    [Theory]
    [InlineData("nothing")]
    [InlineData("blob of another repository")]
    [InlineData("manifest of another repository")]
    [InlineData("another platform")]
    [InlineData("a platform that is no text")]
    public async Task A_product_that_is_not_what_was_asked_for_is_refused_and_the_next_attempt_succeeds(string lie)
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var elsewhere = await server.Http.PushBlobAsync("hpc/other", "elsewhere"u8.ToArray());
        var job = await server.SubmitAsync("?tag=1.0");
        var node = new WireNode(server.Http);
        var lease = await node.LeaseAsync();
        var digest = lie switch
        {
            "another platform" => await lease.PushImageAsync(architecture: "s390x"),
            "a platform that is no text" => await lease.PushImageAsync(architecture: "\\ud800"),
            "manifest of another repository" => Digest.Parse(
                (string)(await server.Http.PushAsync("hpc/other", Samples.Image()))["digest"]!
            ),
            _ => Digest.Of("nothing"u8),
        };
        if (lie == "blob of another repository")
        {
            var manifest = Encoding.UTF8.GetString(await lease.ImageAsync("hello"));
            var layer = (string)JsonNode.Parse(manifest)!["layers"]![0]!["digest"]!;
            var forged = manifest.Replace(layer, elsewhere.ToString(), StringComparison.Ordinal);
            digest = Digest.Of(Encoding.UTF8.GetBytes(forged));
            using var unknown = await lease.PutManifestAsync(digest.ToString(), Encoding.UTF8.GetBytes(forged));
            await unknown.ShouldFailAsync(404, "MANIFEST_BLOB_UNKNOWN");
        }

        using (var refused = await lease.ResultAsync(WireLease.Succeeded(digest)))
        {
            await refused.ShouldFailAsync(400, "BUILD_RESULT_INVALID");
        }

        using (var late = await lease.BeatAsync())
        {
            await late.ShouldFailAsync(409, "BUILD_LEASE_LOST");
        }

        server.Time!.Advance(TimeSpan.FromSeconds(5));
        var next = await node.LeaseAsync();
        Assert.Equal(2, (int)next.Document["attempt"]!);
        using var done = await next.ResultAsync(WireLease.Succeeded(await next.PushImageAsync()));
        Assert.Equal(HttpStatusCode.OK, done.StatusCode);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    [Stateless]
    [Theory]
    [InlineData("{}")]
    [InlineData("""{"state":"queued"}""")]
    [InlineData("""{"state":"succeeded"}""")]
    [InlineData("""{"state":"failed"}""")]
    [InlineData("""{"state":"failed","reason":"attempts-exhausted"}""")]
    [InlineData("""{"state":"failed","reason":"x","steps":[null]}""")]
    [InlineData("""{"state":"succeeded","manifest":{"mediaType":"a","digest":"sha256:x","size":1}}""")]
    [InlineData("[")]
    public async Task A_result_that_is_none_is_400_and_the_lease_goes_on(string result)
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0");
        var lease = await new WireNode(server.Http).LeaseAsync();
        using var refused = await lease.ResultAsync(result);
        await refused.ShouldFailAsync(400, "BUILD_RESULT_INVALID");
        using var alive = await lease.BeatAsync();
        Assert.Equal(HttpStatusCode.OK, alive.StatusCode);
    }

    [Fact]
    public async Task Whatever_comes_under_a_lost_lease_is_refused_and_the_other_node_is_not_disturbed()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        var node = new WireNode(server.Http);
        var lost = await node.LeaseAsync();
        var product = WireLease.Succeeded(await lost.PushImageAsync("late"));
        server.Time!.Advance(TimeSpan.FromSeconds(31));
        await EveryWordIsRefusedAsync(lost, product, 409);
        await server.Sweep.SweepAsync(Cancel);
        server.Time.Advance(TimeSpan.FromSeconds(5));
        var lease = await node.LeaseAsync();
        await EveryWordIsRefusedAsync(lost, product, 409);

        // One node's credential is not for another's lease.
        using (var foreign = await lost.SendAsync("PATCH", lease.Path, "{}"u8.ToArray()))
        {
            await foreign.ShouldFailAsync(404, "BUILD_LEASE_UNKNOWN");
        }

        using var done = await lease.ResultAsync(WireLease.Succeeded(await lease.PushImageAsync("good")));
        Assert.Equal(HttpStatusCode.OK, done.StatusCode);
        await EveryWordIsRefusedAsync(lost, product, 410);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    private static async Task EveryWordIsRefusedAsync(WireLease lease, string result, int status)
    {
        using var beat = await lease.BeatAsync();
        await beat.ShouldFailAsync(status, "BUILD_LEASE_LOST");
        using var log = await lease.LogAsync("0-3", "late");
        await log.ShouldFailAsync(status, "BUILD_LEASE_LOST");
        using var received = await lease.ReceivedAsync();
        await received.ShouldFailAsync(status, "BUILD_LEASE_LOST");
        using var done = await lease.ResultAsync(result);
        await done.ShouldFailAsync(status, "BUILD_LEASE_LOST");
        using var back = await lease.GiveBackAsync();
        await back.ShouldFailAsync(status, "BUILD_LEASE_LOST");
        using var push = await lease.SendAsync(
            "POST",
            $"{BuildServer.Repository}/blobs/uploads/",
            [],
            MediaTypes.OctetStream
        );
        await push.ShouldFailAsync(401, "UNAUTHORIZED");
    }

    private static async Task ShouldTakeAsync(Task<HttpResponseMessage> sending, string range)
    {
        using var response = await sending;
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal(range, response.Header("Range"));
    }

    private static async Task<JsonNode> JsonAsync(HttpResponseMessage response)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonNode.Parse(text)!;
    }
}
