using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>
/// Formats beside the OCI image, with the programs that people use: mksquashfs makes them; oras, skopeo, podman and Apptainer
/// take them.
/// </summary>
public sealed class FormatsTests(Machine machine, Server server) : IClassFixture<Server>
{
    private const string Repository = "formats/app";

    // Apptainer's own words about what this machine lacks go to its log.
    private const string Apptainer = """
        options='--userns --no-mount bind-paths'
        apptainer -q pull app.sif "oras://$1-sif"
        for image in app.sif "docker://$1"; do
            apptainer -q run $options $image
            apptainer -q run $options $image an argument
            apptainer -q exec $options --env NUMBER=7 $image sh -c 'echo "$QUOTED" $NUMBER "${PATH%%:*}"; cat /data/b; ls /gone 2>/dev/null; echo $LD_LIBRARY_PATH; echo "$PATH"'
            echo --
        done
        apptainer -q inspect app.sif
        """;

    [Fact]
    public async Task Formats_are_what_the_tools_make_of_the_image_themselves()
    {
        machine.Needs("mksquashfs");
        machine.Needs("oras");
        var image = $"{server.Host}/{Repository}:1.0";
        machine.WriteFile(Recipe(), "formats", "Containerfile");

        machine
            .RunKiln(
                "build",
                "-t",
                image,
                "--output",
                "sif",
                "--output",
                "squashfs:lz4",
                "--output",
                "single-layer:zstd",
                machine.In("formats")
            )
            .Ok();

        IsSquashfs($"{image}-squashfs");
        IsOneLayer($"{image}-single-layer");
        await IsSharedAsync(image);
        RunsInApptainer(image);
    }

    [Fact]
    public async Task Flattened_image_needs_one_id_and_its_new_layers_are_packed_as_asked_for()
    {
        var plain = await Builds.BuildOkAsync(server, "formats/flat", "tag=plain", Recipe());
        var zstd = await Builds.BuildOkAsync(server, "formats/flat", "tag=zstd&output=oci:zstd", Recipe());
        var flat = await Builds.BuildOkAsync(server, "formats/flat", "tag=flat&flatten=1", Recipe());

        // The cached steps' layers, packed anew; the base's as they are.
        var (before, after) = (await LayersAsync(plain), await LayersAsync(zstd));
        Assert.Equal(Builds.Text(before[0], "digest"), Builds.Text(after[0], "digest"));
        Assert.All(
            after.Skip(1),
            l => Assert.EndsWith("tar+zstd", l["mediaType"]!.GetValue<string>(), StringComparison.Ordinal)
        );
        Assert.Equal("default\n", Builds.RunImage(machine, $"{server.Host}/formats/flat:zstd"));

        var changed = flat["result"]!["outputs"]![0]!["flattening"]!;
        Assert.Equal(["data/su"], changed["setIdFiles"]!.AsArray().Select(p => p!.GetValue<string>()));
        var root = Builds.Unpack(machine, $"{server.Host}/formats/flat:flat");
        var su = File.GetUnixFileMode(Path.Combine(root, "data/su"));
        Assert.False(su.HasFlag(UnixFileMode.SetUser));
        Assert.Equal("default\n", Builds.RunImage(machine, $"{server.Host}/formats/flat:flat"));
        var index = JsonNode.Parse(await server.Http.GetStringAsync("/v2/formats/flat/manifests/flat"))!;
        Assert.Equal(
            "required",
            Builds.Text(index["manifests"]![0]!["annotations"]!, "org.supercontainers.flatten.ownership")
        );
    }

    // The same image by another recipe, with its steps from the cache: nothing is made again.
    private async Task IsSharedAsync(string image)
    {
        var again = await Builds.BuildOkAsync(
            server,
            Repository,
            "tag=2.0&output=sif",
            Recipe() + "# the same in other words\n"
        );

        Assert.Equal([false, true], again["tasks"]!.AsArray().Select(t => t!["cached"]?.GetValue<bool>() is true));
        Assert.Equal(Raw($"{image}-sif"), Raw($"{server.Host}/{Repository}:2.0-sif"));
    }

    private string Raw(string reference) =>
        machine
            .RunAsUser("skopeo", "inspect", "--no-tags", "--raw", "--tls-verify=false", $"docker://{reference}")
            .Ok()
            .Output;

    private void IsSquashfs(string reference)
    {
        Pull(reference);
        var list = machine
            .RunAsUser(
                "sh",
                "-c",
                $"cd pulled && unsquashfs -s app-amd64.squashfs && unsquashfs -lln app-amd64.squashfs"
            )
            .Ok()
            .Output;
        Assert.Contains("Compression lz4", list, StringComparison.Ordinal);
        Assert.Contains("squashfs-root/data/b", list, StringComparison.Ordinal);
        Assert.DoesNotContain("squashfs-root/gone", list, StringComparison.Ordinal);
        Assert.All(
            list.Split('\n').Where(l => l.Contains("squashfs-root/data", StringComparison.Ordinal)),
            l => Assert.Contains(" 0/0 ", l, StringComparison.Ordinal)
        );
    }

    private void IsOneLayer(string image)
    {
        var raw = machine
            .RunAsUser("skopeo", "inspect", "--no-tags", "--raw", "--tls-verify=false", $"docker://{image}")
            .Ok();
        Assert.Single(JsonNode.Parse(raw.Output)!["layers"]!.AsArray());
        machine.RunAsUser("skopeo", "copy", "-q", "--src-tls-verify=false", $"docker://{image}", "oci:one-layer").Ok();
        Assert.Equal("default\n", Builds.RunImage(machine, image));
    }

    private void Pull(string reference) =>
        machine.RunAsUser("oras", "pull", "--plain-http", "-o", "pulled", reference).Ok();

    private void RunsInApptainer(string image)
    {
        var apptainer = new ApptainerRoot(machine);
        apptainer.Needs();
        var ran = apptainer.RunBeside("sh", "-euc", Apptainer, "sh", image).Ok();

        var parts = ran.Output.Split("--\n");
        Assert.StartsWith(
            """
            default
            an argument
            it's so 7 /opt/bin
            one
            /.singularity.d/libs
            /opt/bin:/usr/bin:/bin
            """,
            parts[0],
            StringComparison.Ordinal
        );
        Assert.Equal(parts[0], parts[1]);
        Assert.Contains("org.example.who: me", parts[2], StringComparison.Ordinal);
    }

    private async Task<List<JsonNode>> LayersAsync(JsonNode job)
    {
        var digest = job["result"]!["outputs"]![0]!["manifest"]!["digest"]!.GetValue<string>();
        var manifest = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/{job["repository"]}/manifests/{digest}"))!;
        return [.. manifest["layers"]!.AsArray().Select(l => l!)];
    }

    private string Recipe() =>
        $$"""
            FROM {{BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest")}}
            ENV NUMBER=1 PATH=/opt/bin:/usr/bin:/bin QUOTED="it's so"
            LABEL org.example.who=me
            RUN mkdir -p /data && echo one >/data/a && ln /data/a /data/b && echo x >/gone
            RUN rm /gone /data/a && cp /bin/busybox /data/su && chmod 4755 /data/su && chown 5:6 /data/b
            ENTRYPOINT ["echo"]
            CMD ["default"]

            """;
}
