using System.Net;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The registry alone, with the clients that people have.</summary>
public sealed class RegistryTests(Machine machine, Server server) : IClassFixture<Server>
{
    [Fact]
    public void Skopeo_copies_an_image_in_and_out_byte_for_byte()
    {
        var layout = BaseImages.Busybox(machine);
        var image = BaseImages.Push(machine, server, layout, "library/busybox:latest");

        var copy = machine.In("skopeo-copy");
        machine
            .RunAsUser("skopeo", "copy", "-q", "--src-tls-verify=false", $"docker://{image}", $"oci:{copy}:latest")
            .Ok();

        Assert.Equal(Blobs(layout), Blobs(copy));
        machine.RunAsUser("diff", "-r", Path.Combine(layout, "blobs"), Path.Combine(copy, "blobs")).Ok();
    }

    [Fact]
    public async Task Manifest_comes_back_with_its_digest_and_type()
    {
        var layout = BaseImages.Busybox(machine);
        BaseImages.Push(machine, server, layout, "some/deep/name:1.0");
        var index = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(layout, "index.json")))!;
        var digest = index["manifests"]![0]!["digest"]!.GetValue<string>();

        using var answer = await server.Http.GetAsync("/v2/some/deep/name/manifests/1.0");

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal(digest, answer.Headers.GetValues("Docker-Content-Digest").Single());
        Assert.Equal("application/vnd.oci.image.manifest.v1+json", answer.Content.Headers.ContentType!.MediaType);
        var stored = await File.ReadAllBytesAsync(Path.Combine(layout, "blobs/sha256", digest["sha256:".Length..]));
        Assert.Equal(stored, await answer.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public void Podman_pulls_pushes_and_pulls_again_what_it_pushed()
    {
        machine.Needs("podman");
        var source = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
        var target = $"{server.Host}/podman/busybox:mine";

        Podman("pull", "-q", "--tls-verify=false", source);
        Podman("tag", source, target);
        Podman("push", "-q", "--tls-verify=false", target);
        Podman("rmi", source, target);
        var id = Podman("pull", "-q", "--tls-verify=false", target).Output.Trim();

        Assert.Equal(id, Podman("image", "inspect", "--format", "{{.Id}}", target).Output.Trim());
    }

    [Fact]
    public void Oras_pushes_an_artifact_and_pulls_the_same_file()
    {
        machine.Needs("oras");
        var file = machine.WriteFile("a note\n", "oras", "note.txt");
        var artifact = $"{server.Host}/notes/one:1";

        machine
            .RunAsUser(
                "sh",
                "-c",
                $"cd {machine.In("oras")} && oras push --plain-http --artifact-type text/x-note {artifact} note.txt"
            )
            .Ok();
        machine.RunAsUser("oras", "pull", "--plain-http", "-o", machine.In("oras-out"), artifact).Ok();

        Assert.Equal(File.ReadAllText(file), File.ReadAllText(machine.In("oras-out", "note.txt")));
    }

    [Fact]
    public void Oras_finds_what_refers_to_an_image()
    {
        machine.Needs("oras");
        var image = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "referred/busybox:1");
        machine.WriteFile("{}\n", "sbom", "sbom.json");

        machine
            .RunAsUser(
                "sh",
                "-c",
                $"cd {machine.In("sbom")} && oras attach --plain-http --artifact-type application/spdx+json {image} sbom.json"
            )
            .Ok();
        var found = machine.RunAsUser("oras", "discover", "--plain-http", "--format", "json", image).Ok();

        Assert.Contains("application/spdx+json", found.Output, StringComparison.Ordinal);
    }

    private Outcome Podman(params string[] arguments) =>
        machine
            .RunAsUser([
                "podman",
                "--root",
                machine.In("podman/graph"),
                "--runroot",
                machine.In("podman/run"),
                "--storage-driver",
                "overlay",
                "--log-level",
                "error",
                .. arguments,
            ])
            .Ok();

    private static IEnumerable<string?> Blobs(string layout) =>
        Directory
            .EnumerateFiles(Path.Combine(layout, "blobs/sha256"))
            .Select(Path.GetFileName)
            .Order(StringComparer.Ordinal);
}
