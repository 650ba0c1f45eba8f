using System.Net;
using System.Text.Json.Nodes;
using Kiln.Server;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Delivery;

/// <summary>Pushes and deletions, told to those whom the operator named.</summary>
public sealed class WebhookTests : IAsyncLifetime
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-hook-").FullName;
    private readonly string _secret = Signature.NewSecret();
    private readonly string _older = Signature.NewSecret();
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 11, 25, 8, 0, 0, TimeSpan.Zero));
    private Receiver? _receiver;
    private TestServer? _server;

    private Receiver Receiver => _receiver!;
    private TestServer Server => _server!;

    public async ValueTask InitializeAsync() => _receiver = await Receiver.StartAsync();

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        await Receiver.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_push_is_told_once_signed_with_every_secret()
    {
        await StartAsync();

        var pushed = await Server.Http.PushAsync("ci/app", Samples.Image(), "1.0");

        var heard = await Receiver.NextAsync();
        Assert.Equal("POST", heard.Method);
        Assert.Equal("application/cloudevents+json", heard.Headers["Content-Type"]);
        heard.ShouldBeSigned(_secret, _time.GetUtcNow());
        heard.ShouldBeSigned(_older, _time.GetUtcNow());
        var told = heard.Event;
        Assert.Equal("1.0", (string)told["specversion"]!);
        Assert.Equal(heard.Id, (string)told["id"]!);
        Assert.Equal("io.github.kiln-registry.manifest.pushed.v1", heard.Type);
        Assert.Equal("/v2/ci/app", (string)told["source"]!);
        Assert.Equal($"ci/app@{pushed["digest"]}", (string)told["subject"]!);
        Assert.Equal("2026-11-25T08:00:00.000Z", (string)told["time"]!);
        var data = told["data"]!;
        Assert.Equal("ci/app", (string)data["repository"]!);
        Assert.Equal((string)pushed["digest"]!, (string)data["digest"]!);
        Assert.Equal((int)pushed["size"]!, (int)data["size"]!);
        Assert.Equal("1.0", (string)data["tags"]![0]!);
        await UntilEmptyAsync();
        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task Deletions_are_told()
    {
        await StartAsync();
        var pushed = await Server.Http.PushAsync("ci/app", Samples.Image(), "1.0");
        using var again = await Server.Http.SendAsync(
            "PUT",
            $"ci/app/manifests/{pushed["digest"]}?tag=2.0&tag=3.0",
            await Server.Http.GetByteArrayAsync($"ci/app/manifests/{pushed["digest"]}", Cancel),
            (string)pushed["mediaType"]!
        );
        await Receiver.NextAsync();
        await Receiver.NextAsync();

        await Server.Http.StatusAsync("DELETE", "ci/app/manifests/1.0");
        var untagged = await Receiver.NextAsync();
        await Server.Http.StatusAsync("DELETE", $"ci/app/manifests/{pushed["digest"]}");
        var deleted = await Receiver.NextAsync();

        Assert.Equal("io.github.kiln-registry.tag.deleted.v1", untagged.Type);
        Assert.Equal("1.0", (string)untagged.Event["data"]!["tag"]!);
        Assert.Equal("io.github.kiln-registry.manifest.deleted.v1", deleted.Type);
        Assert.Equal(["2.0", "3.0"], deleted.Event["data"]!["tags"]!.AsArray().Select(t => (string)t!).Order());
    }

    [Fact]
    public async Task Only_what_was_asked_for_is_told()
    {
        await StartAsync(hook => hook with { Repositories = ["ci/**"], Events = ["delete"] });

        await Server.Http.PushAsync("other/app", Samples.Image(), "1");
        await Server.Http.StatusAsync("DELETE", "other/app/manifests/1");
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        await Server.Http.StatusAsync("DELETE", "ci/app/manifests/1");

        Assert.Equal("ci/app:1", (string)(await Receiver.NextAsync()).Event["subject"]!);
        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task A_refused_push_is_not_told()
    {
        await StartAsync();

        using var refused = await Server.Http.PutManifestAsync(
            "ci/app",
            "1",
            Samples.Image(Samples.Descriptor(Samples.Bytes(3), "a/b")).Encode()
        );
        await Server.Http.PushAsync("ci/app", Samples.Image(), "2");

        Assert.Equal(HttpStatusCode.NotFound, refused.StatusCode);
        Assert.Equal("2", (string)(await Receiver.NextAsync()).Event["data"]!["tags"]![0]!);
    }

    [Fact]
    public async Task What_fails_is_tried_again_under_the_same_id_also_after_a_restart()
    {
        await StartAsync();
        Receiver.Answer = response => response.StatusCode = 500;
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        var first = await Receiver.NextAsync();
        var second = await Receiver.NextAsync(_time, Second);
        Assert.Equal(first.Id, second.Id);
        Assert.Equal(first.Body, second.Body);
        Assert.NotEqual(first.Headers["webhook-timestamp"], second.Headers["webhook-timestamp"]);
        Assert.Equal("answered 500", (string)(await ReceiverRowAsync())["error"]!);

        Receiver.Answer = _ => { };
        await Server.RestartAsync();
        var third = await Receiver.NextAsync(_time, Second);

        Assert.Equal(first.Id, third.Id);
        third.ShouldBeSigned(_secret, _time.GetUtcNow());
        await UntilEmptyAsync();
        Assert.Null((await ReceiverRowAsync())["error"]);
    }

    [Theory]
    [InlineData(429)]
    [InlineData(503)]
    public async Task Retry_After_is_honoured(int status)
    {
        await StartAsync();
        Receiver.Answer = response =>
        {
            response.StatusCode = status;
            response.Headers.RetryAfter = "3600";
        };
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        await Receiver.NextAsync();
        await UntilAsync(async () => (string?)(await ReceiverRowAsync())["error"] is not null);
        var before = _time.GetUtcNow();

        await Receiver.NextAsync(_time, TimeSpan.FromMinutes(1));

        Assert.InRange(_time.GetUtcNow() - before, TimeSpan.FromMinutes(59), TimeSpan.MaxValue);
    }

    [Fact]
    public async Task Who_is_gone_is_told_nothing_more_until_the_operator_says_so()
    {
        await StartAsync();
        Receiver.Answer = response => response.StatusCode = 410;
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        await Receiver.NextAsync();
        await UntilAsync(async () => (string?)(await ReceiverRowAsync())["stoppedSince"] is not null);
        Receiver.Answer = _ => { };

        await Server.Http.PushAsync("ci/app", Samples.Image(), "2");
        Assert.Equal(0, (int)(await ReceiverRowAsync())["waiting"]!);
        using var again = await Server.Http.PostAsync(Admin + "/webhook:ci", null, Cancel);
        await Server.Http.PushAsync("ci/app", Samples.Image(), "3");

        Assert.Equal("3", (string)(await Receiver.NextAsync()).Event["data"]!["tags"]![0]!);
    }

    [Fact]
    public async Task What_fails_for_days_is_given_up_and_kept_for_a_second_chance()
    {
        await StartAsync();
        Receiver.Answer = response => response.StatusCode = 404;
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        var outbox = Server.Services.GetRequiredService<Outbox>();
        var tries = new List<string> { (await Receiver.NextAsync()).Id };
        while (true)
        {
            // The try has its consequence a moment after the answer.
            await UntilAsync(() => Task.FromResult(IsPaused() || outbox.Waiting().Count == 0));
            if (outbox.Waiting().Count == 0)
            {
                break;
            }

            Assert.True(tries.Count < 20);
            _time.Advance(
                DateTimeOffset.FromUnixTimeMilliseconds(outbox.Waiting()[0].Due) - _time.GetUtcNow() + Second
            );
            tries.Add((await Receiver.NextAsync(_time, Second)).Id);
        }

        Assert.InRange(tries.Count, 9, 11);
        Assert.Single(tries.Distinct());
        Receiver.Answer = _ => { };

        using var again = await Server.Http.PostAsync(Admin + "/webhook:ci", null, Cancel);

        Assert.Equal(1, (int)JsonNode.Parse(await again.Content.ReadAsStringAsync(Cancel))!["deliveries"]!);
        Assert.Equal(tries[0], (await Receiver.NextAsync()).Id);
        using var unknown = await Server.Http.PostAsync(Admin + "/webhook:nobody", null, Cancel);
        await unknown.ShouldFailAsync(404, "UNSUPPORTED");
    }

    [Fact]
    public async Task A_backlog_has_a_limit_and_what_was_given_up_goes_in_time()
    {
        await StartAsync(events: e => e with { MaxWaiting = 3, MaxGivenUp = 2 });
        Receiver.Answer = response => response.StatusCode = 503;
        for (var i = 0; i < 8; i++)
        {
            await Server.Http.PushAsync("ci/app", Samples.Image(), $"{i}");
        }

        await UntilAsync(async () =>
        {
            _time.Advance(Second);
            var row = await ReceiverRowAsync();
            return (int)row["waiting"]! == 3 && (int)row["givenUp"]! == 2;
        });
        await UntilAsync(async () =>
        {
            _time.Advance(TimeSpan.FromHours(6));
            var row = await ReceiverRowAsync();
            return (int)row["waiting"]! == 0 && (int)row["givenUp"]! == 0;
        });
    }

    [Fact]
    public async Task A_redirect_is_a_failure_and_followed_by_nobody()
    {
        await StartAsync();
        Receiver.Answer = response =>
        {
            response.StatusCode = 307;
            response.Headers.Location = "/elsewhere";
        };
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        await Receiver.NextAsync();

        await UntilAsync(async () => (string?)(await ReceiverRowAsync())["error"] == "answered 307");
        Assert.False(Receiver.HasMore);
    }

    [Fact]
    public async Task A_webhook_that_the_configuration_has_no_more_is_forgotten()
    {
        var named = true;
        _server = await TestServer.StartAsync(o => named ? With(o) : o, Clock);
        Receiver.Answer = response => response.StatusCode = 503;
        await Server.Http.PushAsync("ci/app", Samples.Image(), "1");
        await Receiver.NextAsync();

        await Server.RestartAsync(() => named = false);

        Assert.Empty((await Server.Http.GetJsonAsync(Admin))["receivers"]!.AsArray());
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Admin => Server.Url + "/admin/v1/deliveries";

    private void Clock(IServiceCollection services) => services.AddSingleton<TimeProvider>(_time);

    private async Task StartAsync(
        Func<WebhookOptions, WebhookOptions>? change = null,
        Func<EventOptions, EventOptions>? events = null
    ) => _server = await TestServer.StartAsync(o => With(o, change, events), Clock);

    private ServerOptions With(
        ServerOptions options,
        Func<WebhookOptions, WebhookOptions>? change = null,
        Func<EventOptions, EventOptions>? events = null
    )
    {
        var file = Path.Combine(_folder, "secret");
        File.WriteAllText(file, $"{_secret}\n{_older}\n");
        var hook = new WebhookOptions
        {
            Name = "ci",
            Url = Receiver.Url,
            SecretFile = file,
        };
        var told = new EventOptions { Webhooks = [(change ?? (h => h))(hook)] };
        return options with { Events = (events ?? (e => e))(told) };
    }

    private async Task<JsonNode> ReceiverRowAsync() =>
        (await Server.Http.GetJsonAsync(Admin))["receivers"]!.AsArray().Single()!;

    private bool IsPaused() =>
        Server
            .Services.GetRequiredService<Database>()
            .Read(c => c.Scalar<long>("SELECT not_before FROM delivery_targets"))
        > _time.GetUtcNow().ToUnixTimeMilliseconds();

    private Task UntilEmptyAsync() => UntilAsync(async () => (int)(await ReceiverRowAsync())["waiting"]! == 0);

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(90));
        while (!await condition())
        {
            await Task.Delay(20, limit.Token);
        }
    }
}
