using System.Net;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;

namespace Kiln.Tests.Builds;

/// <summary>Logs: as text, in ranges, as they grow, as events; with a limit and in whole characters.</summary>
public sealed class LogTests
{
    private const string Header = "# attempt 1 on test-node, linux/amd64\n";

    [Fact]
    public async Task Ranges_of_a_log_that_grows()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("");
        Assert.Equal("", await server.LogAsync(job.Id));
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "abc\n");
        var size = Header.Length + 4;

        await RangeAsync(server, job, $"bytes={Header.Length}-", 206, $"bytes {Header.Length}-{size - 1}/*", "abc\n");
        await RangeAsync(server, job, "bytes=2-8", 206, "bytes 2-8/*", Header[2..9]);
        await RangeAsync(server, job, "bytes=-2", 206, $"bytes {size - 2}-{size - 1}/*", "c\n");
        await RangeAsync(server, job, $"bytes={size}-", 416, $"bytes */{size}", null);
        await RangeAsync(server, job, "lines=1-", 200, null, Header + "abc\n");

        await server.Node.SucceedAsync(lease);
        await RangeAsync(server, job, "bytes=0-1", 206, $"bytes 0-1/{size}", "# ");
    }

    [Fact]
    public async Task A_range_past_the_end_waits_where_that_is_preferred()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("");
        var lease = await server.Node.ClaimAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, LogUri(job));
        request.Headers.Add("Range", $"bytes={Header.Length}-");
        request.Headers.Add("Prefer", "wait=20");
        var waiting = server.Http.SendAsync(request);
        await server.Node.LogAsync(lease, "more\n");

        using var response = await waiting;
        Assert.Equal("more\n", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Following_ends_with_the_build()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("");
        var following = server.LogAsync(job.Id, "?follow=1");
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "one\n");
        await server.Node.LogAsync(lease, "two\n");
        Assert.False(following.IsCompleted);
        await server.Node.SucceedAsync(lease);

        Assert.Equal(Header + "one\ntwo\n", await following);
    }

    [Fact]
    public async Task A_log_has_every_attempt_whole_and_its_offsets_never_go_back()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("");
        var first = await server.Node.ClaimAsync();
        await server.Node.LogAsync(first, "one\n");
        await server.Node.FailAsync(first, FailureReasons.SystemError, retryable: true);
        var early = await server.LogAsync(job.Id);
        server.Time!.Advance(TimeSpan.FromMinutes(1));
        var second = await server.Node.ClaimAsync();
        Assert.Equal(2, second.Attempt);
        await server.Node.LogAsync(second, "two\n");
        var late = await server.LogAsync(job.Id);
        await server.Node.SucceedAsync(second);
        var whole = await server.LogAsync(job.Id);

        Assert.StartsWith(Header + "one\n", early);
        Assert.StartsWith(early, late);
        Assert.Contains("# attempt 2 on test-node, linux/amd64\ntwo\n", late[early.Length..]);
        Assert.StartsWith(late, whole);
        var at = Encoding.UTF8.GetByteCount(early);
        var size = Encoding.UTF8.GetByteCount(whole);
        await RangeAsync(server, job, $"bytes={at}-", 206, $"bytes {at}-{size - 1}/{size}", whole[early.Length..]);
    }

    [Fact]
    public async Task Logs_of_several_tasks_follow_one_another()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?platform=linux/amd64,linux/arm64");
        var (first, second) = (await server.Node.ClaimAsync(), await server.Node.ClaimAsync());
        await server.Node.LogAsync(second, "arm\n");
        await server.Node.LogAsync(first, "amd\n");
        var arm = "# attempt 1 on test-node, linux/arm64\narm\n";
        Assert.Equal(Header + "amd\n", await server.LogAsync(job.Id));
        Assert.Equal(arm, await server.LogAsync(job.Id, "?task=t2"));

        await server.Node.SucceedAsync(first);
        Assert.Equal(Header + "amd\n" + arm, await server.LogAsync(job.Id));
        using var unknown = await server.Http.GetAsync(new Uri(LogUri(job) + "?task=t3", UriKind.Relative));
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    [Fact]
    public async Task Events_resume_where_they_broke_off_and_split_no_character()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("");
        var lease = await server.Node.ClaimAsync();
        var euro = Encoding.UTF8.GetBytes("a€b\n");
        await server.Coordinator.AppendLogAsync(lease, euro.AsMemory(0, 2), TestContext.Current.CancellationToken);
        var reading = EventsAsync(server, job, lastId: null);
        await server.Coordinator.AppendLogAsync(lease, euro.AsMemory(2), TestContext.Current.CancellationToken);
        await server.Node.SucceedAsync(lease);

        var events = await reading;
        Assert.Equal(Header + "a€b\n", Text(events));
        Assert.DoesNotContain("\ufffd", Text(events));
        Assert.Equal("state", events[0].Name);
        Assert.Equal(("end", $"{Header.Length + euro.Length}"), (events[^1].Name, events[^1].Id));
        Assert.Equal("succeeded", events[^1].Data.GetProperty("state").GetString());

        var resumed = await EventsAsync(server, job, lastId: $"{Header.Length}");
        Assert.Equal("a€b\n", Text(resumed));
        Assert.Equal(Header + "a€b\n", Text(await EventsAsync(server, job, lastId: "unknown")));
        Assert.Equal(Header + "a€b\n", Text(await EventsAsync(server, job, lastId: "9999")));
        Assert.Equal("", Text(await EventsAsync(server, job, events[^1].Id)));
    }

    [Fact]
    public async Task A_log_over_the_limit_says_so_once()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxLogBytes = 100 });
        var job = await server.SubmitAsync("");
        var lease = await server.Node.ClaimAsync();
        for (var i = 0; i < 10; i++)
        {
            await server.Node.LogAsync(lease, new string('x', 30) + "\n");
        }

        await server.Node.SucceedAsync(lease);
        var log = await server.LogAsync(job.Id);
        Assert.Equal(100, log.IndexOf("\n[the log is longer than 100 bytes", StringComparison.Ordinal));
        Assert.EndsWith("dropped]\n", log);
    }

    [Fact]
    public async Task Large_logs_come_back_byte_for_byte()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("");
        var lease = await server.Node.ClaimAsync();
        var text = new StringBuilder(Header);
        for (var i = 0; i < 5; i++)
        {
            var piece = string.Concat(Enumerable.Range(i * 20_000, 20_000).Select(n => $"{n} "));
            text.Append(piece);
            await server.Node.LogAsync(lease, piece);
        }

        Assert.Equal(text.ToString(), await server.LogAsync(job.Id));
        var middle = text.ToString(200_000, 1000);
        await RangeAsync(server, job, "bytes=200000-200999", 206, "bytes 200000-200999/*", middle);
    }

    [Theory]
    [InlineData("abc", 3)]
    [InlineData("a€", 4)]
    [InlineData("a\ud83d\ude00", 5)]
    public void Text_is_cut_between_characters(string text, int length)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Assert.Equal(length, Utf8.CompleteLength(bytes));
        for (var cut = length - 1; cut > 1 && bytes[^1] > 0x7f; cut--)
        {
            Assert.Equal(1, Utf8.CompleteLength(bytes.AsSpan(0, cut)));
        }
    }

    private static Uri LogUri(Job job) =>
        new($"{BuildServer.Repository}/_build/v1/jobs/{job.Id}/logs", UriKind.Relative);

    private static async Task RangeAsync(
        BuildServer server,
        Job job,
        string range,
        int status,
        string? contentRange,
        string? body
    )
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, LogUri(job));
        request.Headers.TryAddWithoutValidation("Range", range);
        using var response = await server.Http.SendAsync(request);
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(contentRange, response.Content.Headers.ContentRange?.ToString());
        if (body is not null)
        {
            Assert.Equal(body, await response.Content.ReadAsStringAsync());
        }
    }

    private static string Text(List<Event> events) =>
        string.Concat(events.Where(e => e.Name == "log").Select(e => e.Data.GetProperty("text").GetString()));

    private static async Task<List<Event>> EventsAsync(BuildServer server, Job job, string? lastId)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, LogUri(job));
        request.Headers.Add("Accept", "text/event-stream");
        if (lastId is not null)
        {
            request.Headers.Add("Last-Event-ID", lastId);
        }

        using var response = await server.Http.SendAsync(request);
        if (TestState.Servers == 1)
        {
            // It is for the proxy, which keeps it.
            Assert.Equal("no", response.Headers.GetValues("X-Accel-Buffering").Single());
        }

        var text = await response.Content.ReadAsStringAsync();
        return
        [
            .. text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)
                .Where(block => !block.StartsWith(':'))
                .Select(Event.Parse),
        ];
    }

    private sealed record Event(string Name, string? Id, JsonElement Data)
    {
        public static Event Parse(string block)
        {
            var fields = block.Split('\n').Select(line => line.Split(": ", 2)).ToDictionary(f => f[0], f => f[1]);
            return new Event(
                fields["event"],
                fields.GetValueOrDefault("id"),
                JsonDocument.Parse(fields["data"]).RootElement
            );
        }
    }
}
