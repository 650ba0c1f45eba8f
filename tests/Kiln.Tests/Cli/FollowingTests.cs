using System.Text.Json.Nodes;
using Kiln.Cli;
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

    [Fact]
    public async Task Jobs_are_listed_with_their_formats()
    {
        _registry.Job = ("succeeded", [Task("t1"), Task("t2", "sif"), Task("t3", "squashfs")]);

        Assert.Equal(0, await _registry.RunAsync("jobs", $"{_registry.Host}/a"));

        Assert.Contains("linux/amd64 (oci, sif, squashfs)", _registry.Out);
    }
}
