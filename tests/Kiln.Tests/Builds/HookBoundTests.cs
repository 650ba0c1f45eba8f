using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Server;
using Kiln.Server.Delivery;
using Kiln.Tests.Access;
using Kiln.Tests.Collection;
using Kiln.Tests.Delivery;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>Hooks that are slow, that are of no use any more, or that somebody registers by a strange name of the registry.</summary>
public sealed class HookBoundTests : IAsyncLifetime
{
    private const string Hooks = "hpc/app/_build/v1/hooks";
    private Receiver? _receiver;

    private Receiver Receiver => _receiver!;

    public async ValueTask InitializeAsync() => _receiver = await Receiver.StartAsync();

    public ValueTask DisposeAsync() => Receiver.DisposeAsync();

    [Fact]
    public async Task Slow_receivers_of_hooks_keep_nothing_from_those_of_the_operator()
    {
        const int many = 60;
        await using var slow = await Receiver.StartAsync();
        var secret = Path.GetTempFileName();
        await File.WriteAllTextAsync(secret, Signature.NewSecret() + "\n", TestContext.Current.CancellationToken);
        await using var server = await BuildServer.StartAsync(options: o =>
            Loopback(o) with
            {
                Events = Loopback(o).Events with
                {
                    MaxHooks = many,
                    Webhooks =
                    [
                        new WebhookOptions
                        {
                            Name = "ci",
                            Url = Receiver.Url,
                            SecretFile = secret,
                        },
                    ],
                },
            }
        );
        for (var i = 0; i < many; i++)
        {
            using var added = await server.Http.SendAsync(
                "POST",
                Hooks,
                Encoding.UTF8.GetBytes($$"""{"url":"{{slow.Url}}"}"""),
                "application/json"
            );
            Assert.Equal(HttpStatusCode.Created, added.StatusCode);
        }

        var open = new TaskCompletionSource();
        slow.Open = open.Task;
        await server.SubmitAsync("?tag=1.0");
        await UntilAsync(() => Task.FromResult(slow.Posts >= 16));
        await server.Http.PushAsync("ci/app", Samples.Image(), "1");
        while ((string)(await Receiver.NextAsync()).Event["data"]!["repository"]! != "ci/app")
        {
            // The recipe was pushed as well.
        }

        // It did not wait for its turn behind all of them.
        Assert.InRange(slow.Posts, 16, many - 1);
        open.SetResult();
        File.Delete(secret);
    }

    [Fact]
    public async Task Hooks_that_want_nothing_more_make_room_for_others()
    {
        await using var server = await BuildServer.StartAsync(options: o =>
            Loopback(o) with
            {
                Events = Loopback(o).Events with { MaxHooks = 2, MaxHooksInAll = 3 },
            }
        );
        await RegisterAsync(server.Http, "hpc/app");
        await RegisterAsync(server.Http, "hpc/app");
        Receiver.Answer = response => response.StatusCode = 410;
        await server.SubmitAsync("?tag=1");
        await UntilAsync(async () =>
            (await server.Http.GetJsonAsync(Hooks))["hooks"]!.AsArray().All(hook => !(bool)hook!["active"]!)
        );

        foreach (var repository in new[] { "hpc/app", "a/a", "a/a" })
        {
            Assert.Equal(HttpStatusCode.Created, await RegisterAsync(server.Http, repository));
        }

        Assert.Equal(HttpStatusCode.TooManyRequests, await RegisterAsync(server.Http, "b/b"));
        Assert.Single((await server.Http.GetJsonAsync(Hooks))["hooks"]!.AsArray());
        Assert.Equal(
            3,
            (await server.Http.GetJsonAsync($"http://{server.Host}/admin/v1/deliveries"))["receivers"]!.AsArray().Count
        );
    }

    [Stateless]
    [Theory]
    [InlineData("")]
    [InlineData("LONG.example.org")]
    [InlineData("a'b.example.org")]
    [InlineData("a\"b.example.org")]
    [InlineData("user@evil.example.org")]
    [InlineData("two words")]
    [InlineData("registry.example.org")]
    public async Task What_stands_in_Host_tells_nobody_anything_but_a_host(string host)
    {
        await using var server = await AccessServer.StartAsync(change: o =>
            Loopback(o) with
            {
                Build = o.Build with { PullBuild = PullBuilds.Off },
            }
        );
        host = host.Replace(
            "LONG",
            string.Join('.', Enumerable.Repeat(new string('a', 60), 5)),
            StringComparison.Ordinal
        );
        await using var raw = await RawClient.ConnectAsync(server.Server.Url);
        var body = $$"""{"url":"{{Receiver.Url}}"}""";
        await raw.SendAsync(
            $"POST /v2/team/app/_build/v1/hooks HTTP/1.1\r\nHost: {host}\r\nAuthorization: {AccessServer.Basic("root")}\r\n"
                + $"Content-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n{body}"
        );
        var answer = await raw.ReceiveAsync();
        if (answer.StartsWith("HTTP/1.1 400", StringComparison.Ordinal))
        {
            // No HTTP at all.
            Assert.False(Receiver.HasMore);
            return;
        }

        Assert.StartsWith("HTTP/1.1 201", answer, StringComparison.Ordinal);
        var asked = (await Receiver.NextAsync()).Headers["WebHook-Request-Origin"];
        Assert.Equal(host == "registry.example.org" ? host : server.Host, asked);
        using var ping = await server.SendAsync(
            AccessServer.Basic("root"),
            "POST",
            $"team/app/_build/v1/hooks/{JsonNode.Parse(answer[answer.IndexOf('{', StringComparison.Ordinal)..])!["id"]}/ping"
        );
        Assert.Equal($"http://{asked}/v2/team/app", (string)(await Receiver.NextAsync()).Event["source"]!);
    }

    [Fact]
    public async Task A_hook_does_not_keep_an_empty_repository_for_ever()
    {
        await using var server = await CollectedServer.StartAsync(Loopback);
        Assert.Equal(HttpStatusCode.Created, await RegisterAsync(server.Http, "a/b"));
        server.Time.Advance(TimeSpan.FromDays(20));
        Assert.Empty(await server.CollectAsync());
        Assert.Single((await server.Http.GetJsonAsync("a/b/_build/v1/hooks"))["hooks"]!.AsArray());

        server.Time.Advance(TimeSpan.FromDays(20));
        Assert.Equal("a/b", Assert.Single(await server.CollectAsync()).Repository);
        Assert.Empty((await server.Http.GetJsonAsync("a/b/_build/v1/hooks"))["hooks"]!.AsArray());
        Assert.Empty(
            (await server.Http.GetJsonAsync($"{server.Server.Url}/admin/v1/deliveries"))["receivers"]!.AsArray()
        );
    }

    private async Task<HttpStatusCode> RegisterAsync(HttpClient http, string repository)
    {
        using var answer = await http.SendAsync(
            "POST",
            $"{repository}/_build/v1/hooks",
            Encoding.UTF8.GetBytes($$"""{"url":"{{Receiver.Url}}"}"""),
            "application/json"
        );
        return answer.StatusCode;
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
}
