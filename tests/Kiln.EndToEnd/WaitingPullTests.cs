using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A registry that holds pulls for two seconds only, so that a build outlasts several.</summary>
public sealed class BriefServer(Machine machine) : Server(machine)
{
    protected override IReadOnlyList<string> Options => ["--pull-hold", "2s"];
}

/// <summary>Clients as they are pull a tag that is being built, and get it.</summary>
public sealed class WaitingPullTests(Machine machine, BriefServer server) : IClassFixture<BriefServer>
{
    [Theory]
    [InlineData("skopeo")]
    [InlineData("podman")]
    [InlineData("oras")]
    public async Task Client_that_pulls_while_the_build_runs_gets_the_image_in_the_end(string client)
    {
        machine.Needs(client);
        var basis = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
        var repository = $"waiting/{client}-{Guid.NewGuid():N}";
        var recipe = $"FROM {basis}\nRUN sleep 6; echo {Guid.NewGuid():N} >/made\n";
        using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", recipe);
        await Builds.WaitForStateAsync(server, answer.Headers.Location!.ToString(), "running");

        var image = $"{server.Host}/{repository}:1";
        string[] pull = client switch
        {
            "skopeo" =>
            [
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                $"docker://{image}",
                $"dir:{machine.In(client)}",
            ],
            "podman" => ["podman", "pull", "-q", "--tls-verify=false", image],
            _ => ["oras", "manifest", "fetch", "--plain-http", "--output", machine.In("fetched"), image],
        };
        machine.RunAsUser(pull).Ok();
    }
}
