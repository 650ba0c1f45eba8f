using System.Globalization;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Client;

public sealed class BuildClientTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_log_stream_that_is_cut_is_taken_up_where_it_was()
    {
        await using var registry = await TestRegistry.StartAsync();
        var resumed = new List<string>();
        var seen = new SemaphoreSlim(0);
        registry.Intercept = async http =>
        {
            var from = http.Request.Headers["Last-Event-ID"].ToString();
            resumed.Add(from);
            http.Response.ContentType = "text/event-stream";
            var at = from.Length == 0 ? 0 : int.Parse(from, CultureInfo.InvariantCulture);
            await SseAsync(http, at + 2, "log", $$"""{"text":"{{at}}\n"}""");
            await http.Response.WriteAsync(": heartbeat\n\n");
            if (resumed.Count < 3)
            {
                // Half an event, then the line is dead: what was not whole must come again.
                await http.Response.WriteAsync("id: 999\nevent: log\ndata: {\"text\":\"lo");
                await http.Response.Body.FlushAsync();
                await seen.WaitAsync(Cancel);
                http.Abort();
                return true;
            }

            await SseAsync(http, at + 2, "state", """{"state":"succeeded","done":true,"later":1}""");
            await SseAsync(http, at + 2, "end", "{}");
            return true;
        };
        using var client = registry.Client();
        var job = new JobAddress(registry.Repository("a"), "j1");
        var events = new List<JobEvent>();
        await foreach (var happened in new BuildClient(client).FollowAsync(job, "t1", 0, Cancel))
        {
            events.Add(happened);
            seen.Release();
        }

        Assert.Equal(["", "2", "4"], resumed);
        Assert.Equal(["0\n", "2\n", "4\n"], events.OfType<LogEvent>().Select(e => e.Text));
        Assert.True(events.OfType<StateEvent>().Single().Progress.Done);
        Assert.All(registry.Requests, r => Assert.Equal("GET /v2/a/_build/v1/jobs/j1/logs?task=t1", r));
    }

    [Theory]
    [InlineData("06e1c0zjq3_A.b-c", true)]
    [InlineData("", false)]
    [InlineData("..", false)]
    [InlineData(".l1", false)]
    [InlineData("../../home/alice/.ssh", false)]
    [InlineData("/etc", false)]
    [InlineData("l 1", false)]
    [InlineData("l1\n", false)]
    public async Task A_lease_is_called_what_a_folder_can_be_called(string id, bool taken)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = async http =>
        {
            var lease = JsonSerializer.SerializeToNode(Node.NodeSamples.Lease, BuildJson.Default.Lease)!;
            lease["id"] = id;
            http.Response.StatusCode = 201;
            await http.Response.WriteAsync(lease.ToJsonString());
            return true;
        };
        using var client = registry.Client();
        var offer = new LeaseClaim
        {
            Node = "n",
            Platforms = ["linux/amd64"],
            Recipes = [RecipeTypes.Dockerfile],
            Outputs = [BuildOutput.Oci],
        };
        var claim = new LeaseClient(client).ClaimAsync(registry.Host, offer, TimeSpan.Zero, "k", Cancel);

        if (taken)
        {
            Assert.Equal(id, (await claim)!.Id);
            return;
        }

        var fault = await Assert.ThrowsAsync<RegistryException>(() => claim);
        Assert.Equal(RegistryFault.Broken, fault.Fault);
        Assert.Contains("no id of a lease", fault.Why, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_that_never_brings_anything_is_given_up()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            http.Response.ContentType = "text/event-stream";
            return Task.FromResult(true);
        };
        using var client = registry.Client();
        var job = new JobAddress(registry.Repository("a"), "j1");

        var e = await Assert.ThrowsAsync<RegistryException>(async () =>
            await new BuildClient(client).FollowAsync(job, null, 0, Cancel).ToListAsync(Cancel)
        );

        Assert.Equal(RegistryFault.Unreachable, e.Fault);
    }

    [Fact]
    public async Task A_registry_without_the_extension_has_no_info()
    {
        await using var registry = await TestRegistry.StartAsync();
        using var client = registry.Client();

        Assert.Null(await new BuildClient(client).FindInfoAsync(registry.Host, null, Cancel));
    }

    [Fact]
    public async Task A_job_is_asked_for_once_even_where_the_answer_is_lost()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            http.Abort();
            return Task.FromResult(true);
        };
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            new BuildClient(client).CreateAsync(registry.Repository("a"), new JobRequest(), Cancel)
        );

        Assert.Equal(RegistryFault.Unreachable, e.Fault);
        Assert.Single(registry.Requests);
    }

    [Fact]
    public async Task A_secret_goes_as_raw_bytes()
    {
        await using var registry = await TestRegistry.StartAsync();
        var value = TestRegistry.Random(100);
        byte[] seen = [];
        registry.Intercept = async http =>
        {
            using var body = new MemoryStream();
            await http.Request.Body.CopyToAsync(body);
            seen = body.ToArray();
            http.Response.StatusCode = 201;
            await http.Response.WriteAsync("""{"ref":"s1","expires":"2030-01-01T00:00:00Z"}""");
            return true;
        };
        using var client = registry.Client();

        var receipt = await new BuildClient(client).UploadSecretAsync(registry.Repository("a"), value, Cancel);

        Assert.Equal("s1", receipt.Ref);
        Assert.Equal(value, seen);
        Assert.Equal(["POST /v2/a/_build/v1/secrets"], registry.Requests);
    }

    [Theory]
    [InlineData("http://127.0.0.1:5000/v2/a/b/_build/v1/jobs/j1", "127.0.0.1:5000/a/b j1")]
    [InlineData("https://r.example/v2/a/_build/v1/jobs/j1/logs?follow=1", "r.example/a j1")]
    [InlineData("https://r.example/v2/a/jobs/j1", null)]
    [InlineData("ftp://r.example/v2/a/_build/v1/jobs/j1", null)]
    [InlineData("https://r.example/v2/A/_build/v1/jobs/j1", null)]
    [InlineData("r.example/a", null)]
    public void A_jobs_url_is_its_address(string url, string? expected) =>
        Assert.Equal(expected, JobAddress.TryParseUrl(url, out var address) ? address.ToString() : null);

    private static Task SseAsync(HttpContext http, int id, string type, string data) =>
        http.Response.WriteAsync($"id: {id}\nevent: {type}\ndata: {data}\n\n");
}
