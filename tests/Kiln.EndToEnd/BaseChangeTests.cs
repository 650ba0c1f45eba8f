using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A registry whose images follow their bases.</summary>
public sealed class FollowingServer(Machine machine) : Server(machine)
{
    private readonly Machine _machine = machine;

    protected override IReadOnlyList<string> Options =>
        ["--config", _machine.WriteFile("builds:\n  rebuild: on-base-change\n", "following", "kiln.yaml")];
}

public sealed class BaseChangeTests(Machine machine, FollowingServer server) : IClassFixture<FollowingServer>
{
    [Fact]
    public async Task An_image_follows_its_base()
    {
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                $"oci:{BaseImages.Busybox(machine)}:latest",
                $"docker://{server.Host}/base/busybox:1"
            )
            .Ok();
        var lower = $"FROM {server.Host}/base/busybox:1\nARG WHAT\nRUN echo $WHAT >/what\n";
        await Builds.BuildOkAsync(server, "base/os", "tag=1&arg.WHAT=one", lower);
        var upper = await Builds.BuildOkAsync(
            server,
            "app/hello",
            "tag=1",
            $"FROM {server.Host}/base/os:1\nRUN cat /what >/seen\n"
        );

        var moved = await Builds.BuildOkAsync(server, "base/os", "tag=1&arg.WHAT=two", lower);

        var again = await Builds.SucceededAsync(server, await Builds.WaitAsync(server, await FollowerAsync(upper)));
        Assert.Equal("base", Builds.Text(again, "trigger"));
        Assert.Equal(
            Builds.Text(moved["result"]!["outputs"]![0]!["manifest"]!, "digest"),
            Builds.Text(again["tasks"]![0]!["resolvedDependencies"]![0]!, "digest")
        );
        Assert.NotEqual(
            Builds.Text(upper["result"]!["manifest"]!, "digest"),
            Builds.Text(again["result"]!["manifest"]!, "digest")
        );
    }

    // The address of the job in the same repository that was started after the given one.
    private async Task<string> FollowerAsync(JsonNode job)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(5));
        while (true)
        {
            var page = await server.Http.GetStringAsync("/v2/app/hello/_build/v1/jobs", patience.Token);
            var newest = JsonNode.Parse(page)!["jobs"]![0]!;
            if (Builds.Text(newest, "id") != Builds.Text(job, "id"))
                return Builds.Text(newest, "href")!;
            await Task.Delay(TimeSpan.FromMilliseconds(100), patience.Token);
        }
    }
}
