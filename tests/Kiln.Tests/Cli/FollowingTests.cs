using System.Text.Json.Nodes;
using Kiln.Cli;
using Microsoft.AspNetCore.Http;
using static Kiln.Tests.Cli.BuildRegistry;

namespace Kiln.Tests.Cli;

/// <summary>What <c>kiln build</c> and <c>kiln logs -f</c> show of a job that is under way.</summary>
public sealed class FollowingTests : IAsyncLifetime
{
    private BuildRegistry _registry = null!;

    public async ValueTask InitializeAsync() => _registry = await StartAsync();

    public ValueTask DisposeAsync() => _registry.DisposeAsync();

    [Theory]
    [InlineData("plain")]
    [InlineData("tty")]
    public async Task What_is_made_of_an_image_is_followed_when_it_comes(string progress)
    {
        _registry.Log = async (http, task) =>
        {
            await EventAsync(http, "state", new JsonObject { ["state"] = "running", ["done"] = false });
            await EventAsync(http, "log", new JsonObject { ["text"] = $"log of {task}" }, 9);
            _registry.Job =
                task == "t1"
                    ? ("running", [Task("t1", state: "succeeded"), Task("t2", "sif")])
                    : ("succeeded", [Task("t1", state: "succeeded"), Task("t2", "sif", "succeeded")]);
        };

        var code = await _registry.BuildAsync("-o", "sif", "--progress", progress);

        Assert.Equal("", code == 0 ? "" : _registry.Error);
        if (progress == "plain")
        {
            Assert.Equal(
                $"""
                job a j1
                running
                    log of t1
                succeeded
                linux/amd64 sif running
                    linux/amd64 sif log of t2
                linux/amd64 sif succeeded
                Built {_registry.Host}/a:1

                """,
                _registry.Error
            );
        }
        else
        {
            Assert.Contains("linux/amd64 sif running", _registry.Error);
        }
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("tty")]
    public async Task Why_a_build_waits_is_shown_once(string progress)
    {
        _registry.Log = async (http, _) =>
        {
            foreach (var reason in new[] { "Resources", "Resources", "Priority" })
            {
                await StateAsync(http, "scheduled", $"Slurm job 4711 waits: {reason}", steps: []);
            }

            await StateAsync(http, "building", "step 1/2: RUN make", [Step()]);
            _registry.Job = ("succeeded", [Task("t1", state: "succeeded")]);
        };

        Assert.Equal(0, await _registry.BuildAsync("--progress", progress));

        if (progress == "plain")
        {
            Assert.StartsWith(
                """
                job a j1
                scheduled: Slurm job 4711 waits: Resources
                scheduled: Slurm job 4711 waits: Priority
                building
                #1 [1/2] RUN make
                succeeded

                """,
                _registry.Error
            );
        }
        else
        {
            Assert.Contains("scheduled: Slurm job 4711 waits: Resources", _registry.Error);
        }
    }

    private static JsonObject Step() =>
        new()
        {
            ["number"] = 1,
            ["total"] = 2,
            ["text"] = "RUN make",
        };

    private static Task StateAsync(HttpContext http, string phase, string progress, JsonArray steps) =>
        EventAsync(
            http,
            "state",
            new JsonObject
            {
                ["state"] = "running",
                ["done"] = false,
                ["phase"] = phase,
                ["progress"] = progress,
                ["steps"] = steps,
            }
        );

    [Fact]
    public async Task Jobs_are_listed_with_their_formats()
    {
        _registry.Job = ("succeeded", [Task("t1"), Task("t2", "sif"), Task("t3", "squashfs")]);

        Assert.Equal(0, await _registry.RunAsync("jobs", $"{_registry.Host}/a"));

        Assert.Contains("linux/amd64 (oci, sif, squashfs)", _registry.Out);
    }

    [Theory]
    [InlineData("build", true)]
    [InlineData("build", false)]
    [InlineData("logs", true)]
    [InlineData("logs", false)]
    public async Task A_registry_that_is_away_for_a_while_is_waited_for(string verb, bool comesBack)
    {
        var (isAway, refused) = (false, 0);
        _registry.Time = new FastTime(100);
        _registry.Intercept = http =>
        {
            // More than one call tries by itself.
            if (!isAway || (comesBack && refused == 12))
            {
                return false;
            }

            refused++;
            http.Abort();
            return true;
        };
        _registry.Log = async (http, _) =>
        {
            if (http.Request.Headers["Last-Event-ID"] == "4")
            {
                _registry.Job = ("succeeded", [Task("t1", state: "succeeded")]);
                await EventAsync(http, "log", new JsonObject { ["text"] = "two\n" }, 8);
                return;
            }

            await EventAsync(http, "log", new JsonObject { ["text"] = "one\n" }, 4);
            // The stream stops here, and is not at its end.
            http.Items[Cut] = isAway = true;
        };

        var code =
            verb == "build"
                ? await _registry.BuildAsync()
                : await _registry.RunAsync("logs", "-f", $"{_registry.Host}/a", "j1");

        var text = _registry.Out + _registry.Error;
        Assert.Equal(comesBack ? ExitCodes.Ok : ExitCodes.NotPossible, code);
        Assert.Single(text.Split('\n'), line => line.EndsWith("Trying again for 2 minutes", StringComparison.Ordinal));
        Assert.Equal((1, comesBack ? 1 : 0), (text.Split("one\n").Length - 1, text.Split("two\n").Length - 1));
        Assert.Equal(verb == "build" && !comesBack, text.Contains("may go on without us", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Nobody_waits_for_a_registry_that_never_answered()
    {
        Assert.Equal(ExitCodes.NotPossible, await _registry.RunAsync("logs", "-f", "127.0.0.1:1/a", "j1"));
        Assert.DoesNotContain("Trying again", _registry.Error, StringComparison.Ordinal);
    }

    /// <summary>Time that passes so many times as fast.</summary>
    private sealed class FastTime(int speed) : TimeProvider
    {
        private readonly DateTimeOffset _begin = System.GetUtcNow();

        public override DateTimeOffset GetUtcNow() => _begin + (System.GetUtcNow() - _begin) * speed;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            System.CreateTimer(callback, state, Fast(dueTime), Fast(period));

        private TimeSpan Fast(TimeSpan time) => time > TimeSpan.Zero ? time / speed : time;
    }
}
