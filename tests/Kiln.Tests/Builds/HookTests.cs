using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Server;
using Kiln.Server.Delivery;
using Kiln.Tests.Delivery;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>Hooks of the build extension: who is registered is told of jobs, and of nothing that they could not ask for.</summary>
public sealed class HookTests : IAsyncLifetime
{
    private const string Hooks = "hpc/app/_build/v1/hooks";
    private Receiver? _receiver;
    private BuildServer? _server;

    private Receiver Receiver => _receiver!;
    private BuildServer Server => _server!;

    public async ValueTask InitializeAsync()
    {
        _receiver = await Receiver.StartAsync();
        _server = await BuildServer.StartAsync(options: Loopback);
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        await Receiver.DisposeAsync();
    }

    [Fact]
    public async Task A_receiver_is_asked_first_and_then_told_of_a_job_that_waits()
    {
        var hook = await AddAsync();
        var asked = await Receiver.NextAsync();
        Assert.Equal("OPTIONS", asked.Method);
        Assert.Equal(Server.Host, asked.Headers["WebHook-Request-Origin"]);
        Assert.True((bool)hook["active"]!);
        Assert.Equal("job.queued", (string)hook["events"]![0]!);

        var job = await Server.SubmitAsync("?tag=1.0&arg.PASSWORD=swordfish");

        var heard = await Receiver.NextAsync();
        heard.ShouldBeSigned((string)hook["secret"]!, DateTimeOffset.FromUnixTimeSeconds(Seconds(heard)));
        Assert.Equal(Server.Host, heard.Headers["WebHook-Request-Origin"]);
        Assert.Equal("org.supercontainers.build.job.queued.v1", heard.Type);
        Assert.Equal(job.Id, (string)heard.Event["subject"]!);
        Assert.Equal($"http://{Server.Host}/v2/hpc/app", (string)heard.Event["source"]!);
        var data = heard.Event["data"]!;
        Assert.Equal($"http://{Server.Host}{job.Href}", (string)data["job"]!);
        Assert.Equal("queued", (string)data["state"]!);
        Assert.Equal("linux/amd64", (string)data["tasks"]![0]!["platform"]!);
        Assert.Equal("dockerfile", (string)data["recipe"]!["type"]!);
        Assert.DoesNotContain("swordfish", Encoding.UTF8.GetString(heard.Body));
        using var claim = await new WireNode(Server.Http).ClaimAsync(path: (string)data["claim"]!);
        Assert.Equal(HttpStatusCode.Created, claim.StatusCode);
    }

    [Fact]
    public async Task All_that_becomes_of_a_job_is_told_to_who_wants_it_all()
    {
        await AddAsync(
            """
            "events":["job.queued","job.running","job.succeeded","job.failed","job.canceled"],
            """,
            """
            "secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            """
        );
        await Receiver.NextAsync();
        var job = await Server.SubmitAsync("?tag=1.0");
        await Server.Node.SucceedAsync(await Server.Node.ClaimAsync());
        var canceled = await Server.SubmitAsync("?tag=2.0", "FROM scratch\nLABEL a=b\n");
        await Server.Http.StatusAsync("DELETE", BuildServer.JobUri(canceled.Id).ToString());
        // Answered from the first one's result: it never waited.
        var again = await Server.SubmitAsync("?tag=3.0");

        var told = new List<(string?, string)>();
        while (told.Count < 6)
        {
            var heard = await Receiver.NextAsync();
            heard.ShouldBeSigned(
                "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
                DateTimeOffset.FromUnixTimeSeconds(Seconds(heard))
            );
            told.Add(((string?)heard.Event["subject"], heard.Type["org.supercontainers.build.job.".Length..^3]));
        }

        Assert.Equal(
            new (string?, string)[]
            {
                (job.Id, "queued"),
                (job.Id, "running"),
                (job.Id, "succeeded"),
                (canceled.Id, "queued"),
                (canceled.Id, "canceled"),
                (again.Id, "succeeded"),
            }.Order(),
            told.Order()
        );
    }

    [Fact]
    public async Task A_filter_and_another_repository_keep_jobs_away()
    {
        await AddAsync(
            """
            "filter":{"platforms":["linux/arm64"]},"events":["job.queued"],
            """
        );
        await AddAsync(
            """
            "filter":{"recipes":["singularity"]},
            """
        );
        using var elsewhere = await PostAsync($$"""{"url":"{{Receiver.Url}}"}""", "hpc/other/_build/v1/hooks");
        Assert.Equal(HttpStatusCode.Created, elsewhere.StatusCode);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal("OPTIONS", (await Receiver.NextAsync()).Method);
        }

        await Server.SubmitAsync("?tag=1&platform=linux/amd64");
        var meant = await Server.SubmitAsync("?tag=2&platform=linux/arm64");

        Assert.Equal(meant.Id, (string)(await Receiver.NextAsync()).Event["subject"]!);
        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task Hooks_are_listed_without_their_secrets_pinged_and_deleted()
    {
        var id = (string)(await AddAsync())["id"]!;
        await Receiver.NextAsync();

        var listed = (await Server.Http.GetJsonAsync(Hooks))["hooks"]!.AsArray().Single()!;
        Assert.Equal(id, (string)listed["id"]!);
        Assert.Null(listed["secret"]);
        Assert.Equal(Receiver.Url, (string)(await Server.Http.GetJsonAsync($"{Hooks}/{id}"))["url"]!);
        Assert.Equal(HttpStatusCode.Accepted, await Server.Http.StatusAsync("POST", $"{Hooks}/{id}/ping"));
        var ping = await Receiver.NextAsync();
        Assert.Equal("org.supercontainers.build.ping.v1", ping.Type);
        Assert.Equal(id, (string)ping.Event["data"]!["hook"]!);

        // Not by the way of another repository.
        Assert.Equal(HttpStatusCode.NotFound, await Server.Http.StatusAsync("DELETE", $"hpc/no/_build/v1/hooks/{id}"));
        Assert.Equal(HttpStatusCode.NoContent, await Server.Http.StatusAsync("DELETE", $"{Hooks}/{id}"));
        foreach (var (method, path) in new[] { ("GET", ""), ("DELETE", ""), ("POST", "/ping") })
        {
            using var gone = await Server.Http.SendAsync(method, $"{Hooks}/{id}{path}");
            await gone.ShouldFailAsync(404, "BUILD_HOOK_UNKNOWN");
        }

        await Server.SubmitAsync("?tag=1");
        Assert.Empty(
            (await Server.Http.GetJsonAsync($"http://{Server.Host}/admin/v1/deliveries"))["receivers"]!.AsArray()
        );
        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task A_receiver_that_is_gone_makes_its_hook_inactive()
    {
        var id = (string)(await AddAsync())["id"]!;
        await Receiver.NextAsync();
        Receiver.Answer = response => response.StatusCode = 410;
        await Server.SubmitAsync("?tag=1");
        await Receiver.NextAsync();

        await UntilAsync(async () => !(bool)(await Server.Http.GetJsonAsync($"{Hooks}/{id}"))["active"]!);
        Assert.Equal("answered 410", (string)(await Server.Http.GetJsonAsync($"{Hooks}/{id}"))["error"]!);
    }

    [Stateless]
    [Theory]
    [InlineData("""{"url":"ftp://example.org/"}""", "https")]
    [InlineData("""{"url":"/events"}""", "https")]
    [InlineData("""{"url":"https://a:b@example.org/"}""", "user name")]
    [InlineData("""{"url":"https://LONG.example.org/"}""", "253 characters")]
    [InlineData("""{"url":"https://example.org/#a"}""", "fragment")]
    [InlineData("""{"url":"https://example.org/","events":["job.lost"]}""", "events is a list of")]
    [InlineData("""{"url":"https://example.org/","events":[]}""", "events is a list of")]
    [InlineData("""{"url":"https://example.org/","filter":{"platforms":["amd64"]}}""", "filter.platforms")]
    [InlineData("""{"url":"https://example.org/","filter":{"recipes":[]}}""", "filter.recipes")]
    [InlineData("""{"url":"https://example.org/","secret":"short"}""", "whsec_")]
    [InlineData("""{"url":"https://10.0.0.1/"}""", "private")]
    [InlineData("""{"url":"http://169.254.169.254/latest/meta-data"}""", "private")]
    [InlineData("""{"url":"https://[::ffff:10.0.0.1]/"}""", "private")]
    [InlineData("""{"url":"https://[fe80::1]/"}""", "private")]
    [InlineData("""{"url":"https://[64:ff9b::a00:1]/"}""", "private")]
    [InlineData("""{"url":"https://0x0a000001/"}""", "private")]
    [InlineData("""{"url":"https://0/"}""", "private")]
    [InlineData("""{"url":"http://8.8.8.8/"}""", "https")]
    [InlineData("""{"url":"https://no-such-host.invalid/"}""", "not known")]
    [InlineData("""{"events":["job.queued"]}""", "JSON")]
    [InlineData("null", "null")]
    public async Task A_hook_that_cannot_be_is_refused(string body, string why)
    {
        using var refused = await PostAsync(
            body.Replace("LONG", string.Join('.', Enumerable.Repeat(new string('a', 60), 5)), StringComparison.Ordinal)
        );

        Assert.Contains(why, await refused.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        await refused.ShouldFailAsync(400, "BUILD_HOOK_INVALID");
    }

    [Fact]
    public async Task A_receiver_that_does_not_agree_is_not_registered()
    {
        foreach (
            var answer in new Action<HttpResponse>[]
            {
                response => response.StatusCode = 405,
                _ => { },
                response => response.Headers["WebHook-Allowed-Origin"] = "registry.example.org",
                response => response.Redirect("/other"),
            }
        )
        {
            Receiver.Consent = answer;
            using var refused = await PostAsync($$"""{"url":"{{Receiver.Url}}"}""");
            await refused.ShouldFailAsync(400, "BUILD_HOOK_INVALID");
        }

        Receiver.Consent = response => response.Headers["WebHook-Allowed-Origin"] = Server.Host;
        await AddAsync();
    }

    [Fact]
    public async Task Loopback_is_refused_where_nobody_allowed_it()
    {
        await using var server = await BuildServer.StartAsync();
        foreach (var host in new[] { "127.0.0.1", "localhost", "[::1]", "127.1", "2130706433" })
        {
            using var refused = await server.Http.SendAsync(
                "POST",
                Hooks,
                Encoding.UTF8.GetBytes($$"""{"url":"https://{{host}}:{{new Uri(Receiver.Url).Port}}/"}"""),
                "application/json"
            );
            Assert.Contains(
                "not allowed here",
                await refused.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)
            );
            await refused.ShouldFailAsync(400, "BUILD_HOOK_INVALID");
        }

        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task A_name_that_leads_elsewhere_a_moment_later_is_not_followed()
    {
        var asked = 0;
        NameLookup lookup = (_, _) =>
            Task.FromResult(
                new[] { Interlocked.Increment(ref asked) == 1 ? IPAddress.Parse("8.8.8.8") : IPAddress.Loopback }
            );
        await using var server = await TestServer.StartAsync(services: s => s.AddSingleton(lookup));

        using var refused = await server.Http.SendAsync(
            "POST",
            Hooks,
            Encoding.UTF8.GetBytes($$"""{"url":"https://rebind.example.org:{{new Uri(Receiver.Url).Port}}/"}"""),
            "application/json"
        );

        Assert.Contains(
            "has no address that hooks may lead to",
            await refused.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)
        );
        Assert.Equal(2, asked);
        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task A_repository_has_so_many_hooks_at_most()
    {
        await using var server = await BuildServer.StartAsync(options: o =>
            Loopback(o) with
            {
                Events = Loopback(o).Events with { MaxHooks = 2, MaxHooksInAll = 3 },
            }
        );
        var codes = new List<int>();
        foreach (var repository in new[] { "a/a", "a/a", "a/a", "b/b", "b/b" })
        {
            using var answer = await server.Http.SendAsync(
                "POST",
                $"{repository}/_build/v1/hooks",
                Encoding.UTF8.GetBytes($$"""{"url":"{{Receiver.Url}}"}"""),
                "application/json"
            );
            codes.Add((int)answer.StatusCode);
        }

        Assert.Equal([201, 201, 429, 201, 429], codes);
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (!await condition())
        {
            await Task.Delay(20, limit.Token);
        }
    }

    private static ServerOptions Loopback(ServerOptions options) =>
        options with
        {
            Events = new EventOptions { AllowedAddresses = ["127.0.0.0/8"] },
        };

    private static long Seconds(Heard heard) =>
        DateTimeOffset.Parse((string)heard.Event["time"]!, null).ToUnixTimeSeconds();

    private Task<HttpResponseMessage> PostAsync(string body, string path = Hooks) =>
        Server.Http.SendAsync("POST", path, Encoding.UTF8.GetBytes(body), BuildMediaTypes.Hook);

    private async Task<JsonNode> AddAsync(params string[] members)
    {
        using var response = await PostAsync("{" + string.Concat(members) + $"\"url\":\"{Receiver.Url}\"}}");
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.Created, text);
        var hook = JsonNode.Parse(text)!;
        Assert.Equal($"/v2/{Hooks}/{hook["id"]}", response.Headers.Location!.ToString());
        return hook;
    }
}
