using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Builds;

/// <summary>What must not break, block or outlive anything: late words, lost keys, forged products, odd JSON.</summary>
public sealed class RobustnessTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_push_that_outlives_its_lease_is_refused_and_leaves_nothing()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        await Assert.ThrowsAsync<LeaseLostException>(() =>
            server.Coordinator.PushBlobAsync(
                lease,
                async (stream, cancel) =>
                {
                    await stream.WriteAsync("late"u8.ToArray(), cancel);
                    server.Time!.Advance(TimeSpan.FromSeconds(31));
                    await server.Sweep.SweepAsync(cancel);
                },
                Cancel
            )
        );
    }

    [Fact]
    public async Task A_secret_that_cannot_be_opened_fails_its_job_and_blocks_no_other()
    {
        TestState.RequireOneServer("several have their keys from a file that they share");
        await using var server = await BuildServer.StartAsync();
        using var value = new ByteArrayContent("hunter2hunter2"u8.ToArray());
        using var response = await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/secrets", UriKind.Relative),
            value,
            Cancel
        );
        var receipt = System.Text.Json.JsonSerializer.Deserialize(
            await response.Content.ReadAsByteArrayAsync(Cancel),
            BuildJson.Default.SecretReceipt
        )!;
        var broken = await server.SubmitAsync($"?tag=1.0&secret.TOKEN={receipt.Ref}");
        var whole = await server.SubmitAsync("?tag=2.0");
        var key = Directory.EnumerateFiles(server.DataDirectory, "secrets.key", SearchOption.AllDirectories).Single();
        await File.WriteAllBytesAsync(key, new byte[32], Cancel);
        await server.RestartAsync();

        var lease = await server.Node.ClaimAsync();
        Assert.Equal(whole.Tasks[0].Execution, lease.Execution);
        var failed = await server.GetAsync(broken.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.SystemError), (failed.State, failed.Reason));
        Assert.Contains("secret", failed.Message);
    }

    [Fact]
    public async Task A_build_that_was_taken_in_time_may_wait_again_when_its_node_is_lost()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        var lease = await server.Node.ClaimAsync();
        for (var i = 0; i < 10; i++)
        {
            server.Time!.Advance(TimeSpan.FromSeconds(20));
            await server.Coordinator.HeartbeatAsync(lease, new LeaseHeartbeat(), Cancel);
        }

        await server.RestartAsync();
        await server.Sweep.SweepAsync(Cancel);
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(job.Id)).State);
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    [Fact]
    public async Task Time_that_the_server_was_away_does_not_count_as_waiting()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        await server.RestartAsync(() => server.Time!.Advance(TimeSpan.FromSeconds(600)));
        await server.Sweep.SweepAsync(Cancel);
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(job.Id)).State);
    }

    [Fact]
    public async Task A_product_whose_config_tells_of_other_layers_is_refused()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxAttempts = 1 });
        foreach (IReadOnlyList<Digest> forged in new Digest[][] { [Digest.Of("other"u8)], [], [.. Two()] })
        {
            var job = await server.SubmitAsync("?tag=1.0");
            var lease = await server.Node.ClaimAsync();
            var manifest = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform, forged);
            await server.Node.CompleteAsync(
                lease,
                new LeaseResult { State = BuildStates.Succeeded, Manifest = manifest }
            );
            var failed = await server.GetAsync(job.Id);
            Assert.Equal((BuildStates.Failed, FailureReasons.ResultInvalid), (failed.State, failed.Reason));
            Assert.Null(await server.TagAsync("1.0"));
        }

        static Digest[] Two() => [Digest.Of(new Tars().File("hello", "hello").Bytes()), Digest.Of("other"u8)];
    }

    [Fact]
    public async Task A_node_that_gives_up_unasked_uses_up_an_attempt()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxAttempts = 2 }, fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        for (var i = 0; i < 2; i++)
        {
            server.Time!.Advance(TimeSpan.FromSeconds(10));
            await server.Node.CompleteAsync(
                await server.Node.ClaimAsync(),
                new LeaseResult { State = BuildStates.Canceled, Message = "no room here" }
            );
        }

        var failed = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.AttemptsExhausted), (failed.State, failed.Reason));
    }

    [Fact]
    public async Task Joining_builds_under_way_has_a_limit_too()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxActiveJobs = 1 });
        for (var i = 0; i < 10; i++)
        {
            await server.SubmitAsync($"?tag={i}");
        }

        using var refused = await server.PostAsync("?tag=10");
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        Assert.True((await server.SubmitAsync("?tag=10")).Done);
    }

    [Fact]
    public async Task Unused_secrets_have_a_limit()
    {
        await using var server = await BuildServer.StartAsync();
        var statuses = new List<HttpStatusCode>();
        for (var i = 0; i < 257; i++)
        {
            using var value = new ByteArrayContent("v"u8.ToArray());
            using var response = await server.Http.PostAsync(
                new Uri($"{BuildServer.Repository}/_build/v1/secrets", UriKind.Relative),
                value,
                Cancel
            );
            statuses.Add(response.StatusCode);
        }

        Assert.Equal(HttpStatusCode.Created, statuses[255]);
        Assert.Equal(HttpStatusCode.TooManyRequests, statuses[256]);
    }

    [Stateless]
    [Theory]
    [InlineData("""{"targets":[null]}""", "targets")]
    [InlineData("""{"targets":[{"platform":null}]}""", "")]
    [InlineData("""{"args":{"A":null}}""", "args")]
    [InlineData("""{"labels":{"A":null}}""", "labels")]
    [InlineData("""{"tags":[null]}""", "tags")]
    [InlineData("""{"secrets":[null]}""", "secrets")]
    [InlineData("""{"outputs":[null]}""", "outputs")]
    [InlineData("""{"contexts":[null]}""", "contexts")]
    [InlineData("""{"mustUnderstand":[null]}""", "mustUnderstand")]
    [InlineData("""{"args":{"A":"x\u0000y"}}""", "A")]
    [InlineData("""{"labels":{"a=b":"c"}}""", "a=b")]
    [InlineData("""{"labels":{"":"c"}}""", "label")]
    [InlineData("""{"labels":{"a":"x\u0000y"}}""", "label")]
    [InlineData("""{"reproducible":{"sourceDateEpoch":9000000000000000000}}""", "sourceDateEpoch")]
    [InlineData("""{"recipe":{"tag":"1.0","mediaType":"text/x-dockerfile","data":"RlJPTSBzY3JhdGNo"}}""", "recipe")]
    public async Task Json_that_cannot_be_meant_is_400(string members, string sentence)
    {
        await using var server = await BuildServer.StartAsync();
        var body = members.Contains("\"recipe\"", StringComparison.Ordinal)
            ? members
            : $$"""{"recipe":{"mediaType":"text/x-dockerfile","data":"RlJPTSBzY3JhdGNo"},{{members[1..]}}""";
        using var content = new StringContent(body, Encoding.UTF8);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using var response = await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative),
            content,
            Cancel
        );
        var text = await response.Content.ReadAsStringAsync(Cancel);
        Assert.True(response.StatusCode == HttpStatusCode.BadRequest, text);
        Assert.Contains("BUILD_REQUEST_INVALID", text);
        Assert.Contains(sentence, text);
    }

    [Fact]
    public async Task A_layer_that_ends_too_early_is_a_fault_and_no_exception()
    {
        var zstd = new Tars().File("a", new string('x', 100_000)).Zstd();
        for (var cut = 1; cut < zstd.Length; cut += 7)
        {
            var (facts, _, fault) = await Kiln.Inspect.LayerFacts.ReadAsync(new MemoryStream(zstd[..cut]), Cancel);
            Assert.True(facts is null ? fault is not null : fault is null);
        }
    }
}
