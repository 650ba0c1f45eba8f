using System.Net;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;
using Kiln.TestPrograms;

namespace Kiln.EndToEnd;

/// <summary>A registry that stands in front of another one, which recipes call docker.io.</summary>
public sealed class FrontServer(Machine machine) : Server(machine)
{
    private readonly Machine _machine = machine;

    internal DockerRegistry Hub { get; } = new();

    protected override IReadOnlyList<string> Options =>
        [
            "--config",
            _machine.WriteFile(
                $$"""
                upstreams:
                  - { host: docker.io, urls: "http://{{Hub.Host}}", tag-age: 0s }
                builds:
                  bases:
                    deny: [quay.io]
                """,
                "front",
                "kiln.yaml"
            ),
        ];
}

public sealed class UpstreamBuildTests(Machine machine, FrontServer server) : IClassFixture<FrontServer>
{
    private void Push() =>
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                $"oci:{BaseImages.Busybox(machine)}:latest",
                $"docker://{server.Hub.Host}/library/base:1"
            )
            .Ok();

    [Fact]
    public async Task A_recipe_that_names_docker_io_builds_on_what_this_registry_has_of_it()
    {
        Push();

        var job = await Builds.BuildOkAsync(server, "app/one", "tag=1", "FROM base:1\nRUN echo one >/one\n");
        server.Hub.Kill();
        var offline = await Builds.BuildOkAsync(
            server,
            "app/two",
            "tag=1",
            "FROM docker.io/library/base:1\nRUN echo two >/two\n"
        );
        server.Hub.Start();

        Assert.Equal(HttpStatusCode.OK, await Builds.ManifestStatusAsync(server, "docker.io/library/base", "1"));
        Assert.Contains("docker://base:1", job.ToJsonString());
        Assert.Contains("docker://docker.io/library/base:1", offline.ToJsonString());
    }

    [Fact]
    public async Task A_recipe_cannot_have_the_node_speak_to_what_listens_on_its_machine()
    {
        Push();

        var inside = await Builds.BuildAsync(server, "app/three", "tag=1", $"FROM {server.Hub.Host}/library/base:1\n");
        var denied = await Builds.BuildAsync(server, "app/four", "tag=1", "FROM quay.io/some/base:1\n");

        foreach (var (job, why) in new[] { (inside, "which is not public"), (denied, "has denied it") })
        {
            Assert.Equal("failed", Builds.Text(job, "state"));
            Assert.Contains("recipe-error", job.ToJsonString());
            Assert.Contains(why, job.ToJsonString());
        }
    }

    [Fact]
    public void Podman_skopeo_and_buildah_use_it_as_a_mirror()
    {
        Push();
        // Where the tools look for what a user has set.
        machine.WriteFile(
            $"""
            [[registry]]
            prefix = "docker.io"
            location = "docker.io.invalid"
            [[registry.mirror]]
            location = "{server.Host}/docker.io"
            insecure = true
            """,
            "front",
            "home",
            ".config",
            "containers",
            "registries.conf"
        );

        string[] environment = ["env", $"HOME={machine.In("front/home")}"];
        machine.RunAsUser([.. environment, "skopeo", "inspect", "--raw", "docker://docker.io/library/base:1"]).Ok();
        machine
            .RunAsUser([
                .. environment,
                "skopeo",
                "copy",
                "-q",
                "docker://docker.io/library/base:1",
                $"oci:{machine.In("front/mirrored")}:1",
            ])
            .Ok();
        machine.Needs("podman");
        machine
            .RunAsUser([
                .. environment,
                "podman",
                "--root",
                machine.In("front/podman"),
                "--storage-driver",
                "vfs",
                "pull",
                "-q",
                "docker.io/library/base:1",
            ])
            .Ok();
    }

    [Fact]
    public void Oras_pulls_an_artifact_of_the_upstream_with_what_refers_to_it()
    {
        machine.Needs("oras");
        machine.WriteFile("a note\n", "front", "note.txt");
        machine
            .RunAsUser(
                "sh",
                "-c",
                $"cd {machine.In("front")} && oras push --plain-http --artifact-type text/x-note {server.Hub.Host}/notes/one:1 note.txt"
                    + $" && oras attach --plain-http --artifact-type text/x-remark {server.Hub.Host}/notes/one:1 note.txt"
                    + $" && oras pull --plain-http -o pulled {server.Host}/docker.io/notes/one:1"
            )
            .Ok();

        var found = machine
            .RunAsUser("oras", "discover", "--plain-http", "--format", "json", $"{server.Host}/docker.io/notes/one:1")
            .Ok();

        Assert.Equal("a note\n", File.ReadAllText(machine.In("front/pulled/note.txt")));
        Assert.Contains("text/x-remark", JsonNode.Parse(found.Output)!.ToJsonString());
    }
}
