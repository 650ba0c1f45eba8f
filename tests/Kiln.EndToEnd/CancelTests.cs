using System.Net;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>Builds that end before they are done, however a build comes to be root: nothing of them is left.</summary>
public abstract class CancelContract(Machine machine, Server server)
{
    [Fact]
    public async Task Cancelled_build_leaves_no_process_behind()
    {
        // The number is how this build's processes are told from all others.
        var marker = Random.Shared.Next(1_000_000, 9_999_999).ToString();
        var recipe = $"FROM {Base()}\nRUN (setsid sleep {marker} &) ; echo started-{marker}; sleep {marker}\n";
        using var answer = await Builds.PostRecipeAsync(server, "demo/cancel", "tag=1", recipe);
        var href = answer.Headers.Location!.ToString();
        var job = await Builds.WaitForStateAsync(server, href, "running");
        await Builds.WaitForLogAsync(server, job, $"started-{marker}\n");

        using var cancelled = await server.Http.DeleteAsync(href);
        job = await Builds.WaitAsync(server, href);

        Assert.True(cancelled.StatusCode is HttpStatusCode.Accepted or HttpStatusCode.OK, $"{cancelled.StatusCode}");
        Assert.Equal("canceled", Builds.Text(job, "state"));
        Assert.Equal(HttpStatusCode.NotFound, await Builds.ManifestStatusAsync(server, "demo/cancel", "1"));
        await ProcessList.HasNoneAsync($"sleep {marker}");
        await DirectoryList.IsEmptyAsync(machine, Path.Combine(server.DataDirectory, "node", "builds"));
    }

    [Fact]
    public async Task Server_that_is_killed_loses_no_build()
    {
        var marker = Random.Shared.Next(1_000_000, 9_999_999).ToString();
        var recipe = $"FROM {Base()}\nRUN echo started-{marker}; sleep 3.{marker}\n";
        using var answer = await Builds.PostRecipeAsync(server, "demo/killed", "tag=1", recipe);
        var href = answer.Headers.Location!.ToString();
        var job = await Builds.WaitForStateAsync(server, href, "running");
        await Builds.WaitForLogAsync(server, job, $"started-{marker}\n");

        await server.KillAsync();
        await ProcessList.HasNoneAsync($"sleep 3.{marker}");
        await server.StartAsync();

        await Builds.SucceededAsync(server, await Builds.WaitAsync(server, href));
        await DirectoryList.IsEmptyAsync(machine, Path.Combine(server.DataDirectory, "node", "builds"));
    }

    protected string Base() => BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
}

/// <summary>With the ids that the user has.</summary>
public sealed class CancelTests(Machine machine, Server server) : CancelContract(machine, server), IClassFixture<Server>
{
    private readonly Server _server = server;

    [Fact]
    public async Task Server_that_is_stopped_ends_its_builds_and_runs_them_again_when_it_is_back()
    {
        var marker = Random.Shared.Next(1_000_000, 9_999_999).ToString();
        var recipe = $"FROM {Base()}\nRUN echo started-{marker}; sleep 3.{marker}\n";
        using var answer = await Builds.PostRecipeAsync(_server, "demo/restart", "tag=1", recipe);
        var href = answer.Headers.Location!.ToString();
        var job = await Builds.WaitForStateAsync(_server, href, "running");
        await Builds.WaitForLogAsync(_server, job, $"started-{marker}\n");

        await _server.StopAsync();
        await ProcessList.HasNoneAsync($"sleep 3.{marker}");
        await _server.StartAsync();

        await Builds.SucceededAsync(_server, await Builds.WaitAsync(_server, href));
    }
}

/// <summary>With one id.</summary>
public sealed class SingleIdCancelTests(Machine machine, SingleIdServer server)
    : CancelContract(machine, server),
        IClassFixture<SingleIdServer>;
