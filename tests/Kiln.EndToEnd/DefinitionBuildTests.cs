using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>Definitions, built by the real Apptainer, run by it and by podman.</summary>
public sealed class DefinitionBuildTests(Machine machine, ApptainerServer server) : IClassFixture<ApptainerServer>
{
    private const string Rich = """
        Bootstrap: scratch
        Stage: tools

        %files
            tools /tools

        BASE_HEADER

        %arguments
            GREETING=hello

        %files
            "a greeting.txt" '/opt/app/greeting.txt'
        %files from tools
            /tools/tool /opt/app/bin/tool

        %post -c /bin/sh
            echo "post runs: {{ GREETING }}"
            chmod 755 /opt/app/bin/tool
            chown 1234:1234 /opt/app/greeting.txt
            rm /bin/vi
            echo 'export FROM_POST="of the post"' >> $APPTAINER_ENVIRONMENT

        %environment
            export APP=/opt/app
            export PATH=/opt/app/bin:$PATH

        %runscript
            tool "$FROM_POST" "$@"

        %test
            test -x /opt/app/bin/tool && echo TEST_WORD

        %labels
            org.example.made definition

        %help
            How to use it.
        """;

    [Fact]
    public async Task Definition_becomes_an_image_that_podman_and_Apptainer_run_alike_and_its_sections_are_cached()
    {
        server.NeedsApptainer();
        var busybox = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:1");
        Write("rich", "a greeting.txt", "a greeting\n");
        Write("rich", "tools/tool", "#!/bin/sh\necho \"$APP has $(cat $APP/greeting.txt) and $1, not $2\"\n");
        var header = $"Bootstrap: docker\nFrom: {busybox}";
        var file = Write("rich", "app.def", Rich.Replace("BASE_HEADER", header, StringComparison.Ordinal));
        var image = $"{server.Host}/def/app:1";

        var first = machine
            .RunKiln("build", "--progress", "plain", "-t", image, "--build-arg", "GREETING=servus", file)
            .Ok();
        Assert.Contains("post runs: servus", Everything(first), StringComparison.Ordinal);
        Assert.Contains("TEST_WORD", Everything(first), StringComparison.Ordinal);

        var (manifest, config) = await ImageAsync("def/app", "1");
        var (based, _) = await ImageAsync("library/busybox", "1");
        Assert.Equal(based["layers"]![0]!["digest"]!.ToString(), manifest["layers"]![0]!["digest"]!.ToString());
        Assert.Equal("definition", config["Labels"]!["org.example.made"]!.ToString());
        Assert.Contains("FROM_POST=of the post", config["Env"]!.AsArray().Select(v => v!.ToString()));
        Assert.Contains(
            config["Env"]!.AsArray(),
            v => v!.ToString().StartsWith("PATH=/opt/app/bin:/", StringComparison.Ordinal)
        );
        var unpacked = Builds.Unpack(machine, image);
        Assert.Contains("How to use it.", Read(unpacked, "runscript.help"), StringComparison.Ordinal);
        Assert.Contains("{{ GREETING }}", Read(unpacked, "Singularity"), StringComparison.Ordinal);
        Assert.Contains($"\"{busybox}\"", Read(unpacked, "labels.json"), StringComparison.Ordinal);
        Assert.DoesNotContain(Path.Combine(unpacked, "bin/vi"), Directory.GetFiles(Path.Combine(unpacked, "bin")));
        Assert.Contains(Path.Combine(unpacked, "bin/ls"), Directory.GetFiles(Path.Combine(unpacked, "bin")));

        const string said = "/opt/app has a greeting and of the post, not ";
        Assert.Contains(said, Builds.RunImage(machine, image), StringComparison.Ordinal);
        var sandbox = machine.In("rich-sandbox");
        server.Apptainer("build", "--sandbox", sandbox, $"docker://{image}").Ok();
        Assert.Contains(
            said + "me",
            server.Apptainer("run", "--containall", sandbox, "me").Ok().Output,
            StringComparison.Ordinal
        );

        Write("rich", "app.def", File.ReadAllText(file).Replace("TEST_WORD", "ANOTHER_WORD", StringComparison.Ordinal));
        string[] again =
        [
            "build",
            "--progress",
            "plain",
            "-t",
            $"{server.Host}/def/app:2",
            "--build-arg",
            "GREETING=servus",
        ];
        var second = machine.RunKiln([.. again, file]).Ok();
        Assert.Contains("ANOTHER_WORD", Everything(second), StringComparison.Ordinal);
        Assert.DoesNotContain("post runs", Everything(second), StringComparison.Ordinal);
        Assert.Contains(
            "post runs",
            Everything(machine.RunKiln([.. again, "--no-cache", file]).Ok()),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Failing_post_and_test_are_told_and_nothing_is_published()
    {
        server.NeedsApptainer();
        var busybox = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:1");
        var head = $"Bootstrap: docker\nFrom: {busybox}\n";

        var post = await BuildAsync(
            "def/bad",
            "1",
            head + "%post\n  echo so far\n  sh -c 'exit 137'\n  echo not reached\n"
        );
        Assert.Equal("recipe-error", Builds.Text(post["result"] ?? post, "reason"));
        Assert.Contains("step 2/3 (%post) exited with 137", post.ToString(), StringComparison.Ordinal);
        var test = await BuildAsync("def/bad", "1", head + "%test\n  exit 9\n");
        Assert.Contains("(%test) exited with 9", test.ToString(), StringComparison.Ordinal);
        var stray = Write("out", "app.def", head + "%files\n  data /data\n");
        machine.RunAsUser("ln", "-s", "/etc", machine.In("out/data")).Ok();
        Assert.Contains(
            "%files data: ./data leads out of the build's context",
            Everything(
                machine.RunKiln("build", "--progress", "plain", "-t", $"{server.Host}/def/bad:1", stray).Exits(1)
            ),
            StringComparison.Ordinal
        );
        Assert.Equal(System.Net.HttpStatusCode.NotFound, await Builds.ManifestStatusAsync(server, "def/bad", "1"));
    }

    [Fact]
    public async Task An_image_has_the_environment_that_its_definition_says_and_with_a_source_date_the_same_digest_again()
    {
        server.NeedsApptainer();
        var busybox = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:1");
        const string odd = "say \"hi\" to $HOME and $(id)";
        await Builds.BuildOkAsync(
            server,
            "def/odd",
            "tag=1",
            $"FROM {busybox}\nENV QUOTE=\"{odd.Replace("\"", "\\\"").Replace("$", "\\$")}\" ONCE=base GONE=1\n"
        );
        // Without a program in it, and read once only.
        var environment =
            $"Bootstrap: docker\nFrom: {server.Host}/def/odd:1\n%environment\n  export PATH=/opt/app/bin ONCE=more-$ONCE APP=\"$QUOTE!\"\n"
            + "  unset GONE\n%runscript\n  echo \"$APP $PATH $ONCE ${GONE-gone}\"\n";
        var first = await BuildAsync("def/env", "1&sourcedate=1700000000&cache=none", environment);
        var second = await BuildAsync("def/env", "1&sourcedate=1700000000&cache=none", environment);
        Assert.NotEqual(first["tasks"]![0]!["execution"]!.ToString(), second["tasks"]![0]!["execution"]!.ToString());
        Assert.Equal(await ProductAsync(first), await ProductAsync(second));
        var (_, config) = await ImageAsync("def/env", "1");
        var variables = config["Env"]!.AsArray().Select(v => v!.ToString()).ToList();
        Assert.Contains("QUOTE=" + odd, variables);
        Assert.Contains($"APP={odd}!", variables);
        Assert.Contains("ONCE=more-base", variables);
        Assert.Contains("PATH=/opt/app/bin", variables);
        Assert.DoesNotContain(variables, v => v.StartsWith("GONE", StringComparison.Ordinal));
        var said = $"{odd}! /opt/app/bin more-base gone\n";
        Assert.Equal(said, Builds.RunImage(machine, $"{server.Host}/def/env:1"));
        Assert.Contains(
            "the same digest",
            machine.RunKiln("verify", $"{server.Host}/def/env@{await ProductAsync(first)}", "--rebuild").Ok().Output,
            StringComparison.Ordinal
        );

        // What stands on it starts what it starts, or what a recipe between the two says.
        var over = await BuildAsync(
            "def/over",
            "1",
            $"Bootstrap: docker\nFrom: {server.Host}/def/env:1\n%labels\n  a b\n"
        );
        await Builds.SucceededAsync(server, over);
        Assert.Equal(said, Builds.RunImage(machine, $"{server.Host}/def/over:1"));
        await Builds.BuildOkAsync(
            server,
            "def/other",
            "tag=1",
            $"FROM {server.Host}/def/env:1\nENTRYPOINT [\"/bin/echo\", \"another\"]\n"
        );
        // A shell of the image that cannot read the environment: that is said, and no reason not to start.
        var broken = Write(
            "broken",
            "app.def",
            $"Bootstrap: docker\nFrom: {server.Host}/def/other:1\n%environment\n  list=(a b)\n"
        );
        var built = machine.RunKiln("build", "--progress", "plain", "-t", $"{server.Host}/def/broken:1", broken).Ok();
        Assert.Contains(
            "came to no end with the definition's environment",
            Everything(built),
            StringComparison.Ordinal
        );
        Assert.Equal("another\n", Builds.RunImage(machine, $"{server.Host}/def/broken:1"));
    }

    [Fact]
    public async Task A_SIF_file_is_a_base_from_the_context_and_from_a_registry()
    {
        server.NeedsApptainer();
        machine.Needs("oras");
        var busybox = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:1");
        Write("sif", "none", "");
        server.Apptainer("build", machine.In("sif/base.sif"), $"docker://{busybox}").Ok();
        machine
            .RunAsUser(
                "sh",
                "-c",
                $"cd {machine.In("sif")} && printf '{{}}' >c && oras push --plain-http {server.Host}/def/base:sif "
                    + "--config c:application/vnd.sylabs.sif.config.v1+json base.sif:application/vnd.sylabs.sif.layer.v1.sif && rm c"
            )
            .Ok();
        const string rest = "\n%post\n  echo made >/made\n%runscript\n  cat /made\n";
        var local = Write("sif", "app.def", "Bootstrap: localimage\nFrom: base.sif" + rest);
        machine.RunKiln("build", "-t", $"{server.Host}/def/sif:local", local).Ok();
        Assert.Equal("made\n", Builds.RunImage(machine, $"{server.Host}/def/sif:local"));

        var job = await BuildAsync("def/sif", "oras", $"Bootstrap: oras\nFrom: {server.Host}/def/base:sif" + rest);
        await Builds.SucceededAsync(server, job);
        Assert.Equal("made\n", Builds.RunImage(machine, $"{server.Host}/def/sif:oras"));
    }

    private async Task<JsonNode> BuildAsync(string repository, string tag, string definition)
    {
        using var answer = await server.Http.PostAsync(
            $"/v2/{repository}/_build/v1/jobs?tag={tag}",
            new StringContent(definition, null, "application/vnd.supercontainers.build.singularity.v1")
        );
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        return await Builds.WaitAsync(server, answer.Headers.Location!.ToString());
    }

    private async Task<string> ProductAsync(JsonNode job)
    {
        await Builds.SucceededAsync(server, job);
        return job["result"]!["outputs"]![0]!["manifest"]!["digest"]!.ToString();
    }

    private async Task<(JsonNode Manifest, JsonNode Config)> ImageAsync(string repository, string tag)
    {
        var manifest = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/{repository}/manifests/{tag}"))!;
        if (manifest["manifests"] is JsonArray images)
            manifest = JsonNode.Parse(
                await server.Http.GetStringAsync($"/v2/{repository}/manifests/{images[0]!["digest"]}")
            )!;
        var config = JsonNode.Parse(
            await server.Http.GetStringAsync($"/v2/{repository}/blobs/{manifest["config"]!["digest"]}")
        )!;
        return (manifest, config["config"]!);
    }

    private string Write(string folder, string name, string content) => machine.WriteFile(content, folder, name);

    private static string Read(string unpacked, string file) =>
        File.ReadAllText(Path.Combine(unpacked, ".singularity.d", file));

    private static string Everything(Outcome outcome) => outcome.Output + outcome.Error;
}
