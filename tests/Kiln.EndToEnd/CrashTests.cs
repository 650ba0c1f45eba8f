using System.Diagnostics;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The power goes at any moment: what was acknowledged is whole afterwards, and what was not is run again.</summary>
public sealed class CrashTests(Machine machine, Server server) : IClassFixture<Server>
{
    [Theory]
    [InlineData("# attempt 1")]
    [InlineData("STEP 1/")]
    [InlineData("STEP 2/")]
    [InlineData("COMMIT")]
    public async Task Server_killed_when_the_log_says_this_builds_again_and_publishes_once(string moment)
    {
        var repository = $"crash/at-{Guid.NewGuid():N}";
        using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", Recipe());
        var href = answer.Headers.Location!.ToString();
        await Builds.WaitForLogAsync(server, await Builds.WaitForStateAsync(server, href, "running"), moment);

        await server.KillAsync();
        await server.StartAsync();

        await IsWholeAsync(href, repository);
    }

    [Fact]
    public async Task Server_killed_at_any_time_of_a_build_loses_nothing()
    {
        for (var i = 0; i < 5; i++)
        {
            var repository = $"crash/random-{Guid.NewGuid():N}";
            using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", Recipe());
            var href = answer.Headers.Location!.ToString();
            await Task.Delay(Random.Shared.Next(0, 2500));

            await server.KillAsync();
            if (i % 2 == 1)
            {
                // Again in the middle of putting things right.
                await server.StartAsync();
                await Task.Delay(Random.Shared.Next(0, 500));
                await server.KillAsync();
            }
            await server.StartAsync();

            await IsWholeAsync(href, repository);
        }
    }

    [Fact]
    public async Task Server_killed_while_it_tried_the_machine_out_can_build_at_its_next_start()
    {
        await server.KillAsync();
        machine.RunAsUser("mkdir", "-p", Path.Combine(server.DataDirectory, "node/probe/root")).Ok();
        machine.RunAsUser("touch", Path.Combine(server.DataDirectory, "node/probe/root/init")).Ok();
        await server.StartAsync();

        var repository = $"crash/trial-{Guid.NewGuid():N}";
        using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", Recipe());

        await IsWholeAsync(answer.Headers.Location!.ToString(), repository);
    }

    [Fact]
    public async Task Push_that_was_acknowledged_is_whole_after_a_kill_at_any_time()
    {
        var layout = BaseImages.Busybox(machine);
        for (var i = 0; i < 6; i++)
        {
            var name = $"crash/push-{Guid.NewGuid():N}:1";
            var start = machine.AsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                $"oci:{layout}:latest",
                $"docker://{server.Host}/{name}"
            );
            using var push = Process.Start(start)!;
            await Task.Delay(Random.Shared.Next(0, 250));
            await server.KillAsync();
            await push.WaitForExitAsync();
            await server.StartAsync();

            var pull = machine.RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                $"docker://{server.Host}/{name}",
                $"dir:{machine.In("crash-pull")}"
            );
            if (push.ExitCode == 0)
            {
                pull.Ok();
            }
            else if (pull.ExitCode != 0)
            {
                Assert.Contains("manifest unknown", pull.Error, StringComparison.Ordinal);
            }
        }
    }

    private async Task IsWholeAsync(string href, string repository)
    {
        var job = await Builds.SucceededAsync(server, await Builds.WaitAsync(server, href));
        Assert.Equal(["1"], job["result"]!["tags"]!.AsArray().Select(tag => tag!.GetValue<string>()));
        var root = Builds.Unpack(machine, $"{server.Host}/{repository}:1");
        Assert.Equal("whole\n", await File.ReadAllTextAsync(Path.Combine(root, "made")));
    }

    private string Recipe() =>
        $"FROM {BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest")}\nRUN sleep 1; echo whole >/made\nRUN echo {Guid.NewGuid():N}\n";
}
