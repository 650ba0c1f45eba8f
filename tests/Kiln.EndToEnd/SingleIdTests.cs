using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>
/// Builds of a user that has no id but its own, as on most clusters: of one who has more, only by the operator's word.
/// </summary>
public sealed class SingleIdServer(Machine machine) : Server(machine)
{
    protected override IReadOnlyList<string> Options { get; } = machine.HasRange ? ["--single-id"] : [];
}

public sealed class SingleIdTests(Machine machine, SingleIdServer server) : IClassFixture<SingleIdServer>
{
    [Fact]
    public async Task Packages_users_and_set_id_files_are_built_and_published_as_roots()
    {
        var name = BaseImages.Push(machine, server, BaseImages.Debian(machine), "single/debian:1");
        var recipe = $"""
            FROM {name}
            RUN apt-get update && apt-get install -y --no-install-recommends tree && rm -r /var/lib/apt/lists
            RUN useradd --create-home app && echo mine >/home/app/file && chown -R app:app /home/app && mknod /device c 1 3
            RUN install -m 6755 -o app /bin/true /home/app/set-id && mkdir -m 2775 /home/app/shared && test -u /home/app/set-id
            CMD ["sh", "-c", "tree --version && cat /home/app/file"]

            """;

        var job = await Builds.BuildOkAsync(server, "single/app", "tag=1", recipe);
        // The last step only: layers of the others come from the cache, and are those that were published.
        var again = await Builds.BuildOkAsync(server, "single/app", "tag=2", recipe + "RUN touch /home/app/more\n");

        var task = job["tasks"]![0]!;
        Assert.Equal("seccomp", Builds.Text(task["confinement"]!, "root"));
        Assert.Equal("required", Builds.Text(task["hints"]!, "flattenOwnership"));
        Assert.True(
            again["tasks"]![0]!["steps"]!.AsArray().Count(s => s!["cached"]?.GetValue<bool>() is true) >= 3,
            $"{again}"
        );
        var layers = await LayersAsync("single/app", Image(job));
        Assert.Equal((await LayersAsync("single/debian", "1"))[0], layers[0]);
        Assert.Equal(layers, (await LayersAsync("single/app", Image(again)))[..layers.Count]);
        foreach (var layer in (await LayersAsync("single/app", Image(again)))[1..])
        {
            var entries = Entries("single/app", layer);
            Assert.All(entries, e => Assert.Matches("^[^sS]+ 0/0 ", e));
            Assert.DoesNotContain(entries, e => e.Contains("kiln", StringComparison.Ordinal));
        }

        var statement = await StatementAsync(job);
        Assert.Contains(
            "\"root\":\"seccomp\"",
            statement.Replace(" ", "", StringComparison.Ordinal),
            StringComparison.Ordinal
        );
        Assert.Contains("mine", Builds.RunImage(machine, $"{server.Host}/single/app:2"), StringComparison.Ordinal);
        var info = machine.RunKiln("info", server.Host).Ok().Output;
        Assert.Contains("seccomp", info, StringComparison.Ordinal);
    }

    [Fact]
    public void Account_that_may_make_no_namespace_is_told_what_a_site_could_enable()
    {
        var probe = machine.RunAsUser([
            .. new[] { "unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c" },
            "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"",
            "sh",
            .. machine.Kiln,
            "node",
            "--probe",
        ]);

        Assert.Equal(3, probe.ExitCode);
        var line = probe.Output.Split('\n').First(l => l.StartsWith("builds ", StringComparison.Ordinal));
        Assert.Contains("user.max_user_namespaces is 0", line, StringComparison.Ordinal);
        Assert.Contains("sysctl -w user.max_user_namespaces=15000", line, StringComparison.Ordinal);
    }

    private static string Image(JsonNode job) =>
        job["result"]!["outputs"]![0]!["manifest"]!["digest"]!.GetValue<string>();

    private async Task<List<string>> LayersAsync(string repository, string reference)
    {
        var manifest = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/{repository}/manifests/{reference}"))!;
        return [.. manifest["layers"]!.AsArray().Select(l => l!["digest"]!.GetValue<string>())];
    }

    // As tar lists them: mode, owner and group by number.
    private List<string> Entries(string repository, string layer)
    {
        var tar = machine.In($"layer-{Guid.NewGuid():N}");
        machine.RunAsUser("curl", "-fsS", "-o", tar, $"http://{server.Host}/v2/{repository}/blobs/{layer}").Ok();
        return
        [
            .. machine.RunAsUser("tar", "-t", "-v", "-z", "--numeric-owner", "-f", tar).Ok().Output.Trim().Split('\n'),
        ];
    }

    private async Task<string> StatementAsync(JsonNode job)
    {
        var attached = job["result"]!["outputs"]![0]!["provenance"]![0]!["digest"]!.GetValue<string>();
        var statement = Assert.Single(await LayersAsync("single/app", attached));
        return await server.Http.GetStringAsync($"/v2/single/app/blobs/{statement}");
    }
}
