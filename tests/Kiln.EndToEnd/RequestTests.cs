using System.Net;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>Builds asked for with one HTTP request.</summary>
public sealed class RequestTests(Machine machine, Server server) : IClassFixture<Server>
{
    [Fact]
    public async Task Curl_with_a_Containerfile_is_a_complete_client()
    {
        var file = machine.WriteFile(
            $"FROM {Base()}\nRUN echo made by curl >/made\nCMD [\"cat\", \"/made\"]\n",
            "curl",
            "Containerfile"
        );

        var said = machine
            .RunAsUser(
                "curl",
                "-sS",
                "--fail-with-body",
                "--data-binary",
                $"@{file}",
                "-H",
                "Content-Type: text/x-dockerfile",
                "-H",
                "Prefer: wait=50",
                $"http://{server.Host}/v2/demo/curl/_build/v1/jobs?tag=1.0"
            )
            .Ok();
        var href = JsonNode.Parse(said.Output)!["href"]!.GetValue<string>();

        await Builds.SucceededAsync(server, await Builds.WaitAsync(server, href));
        Assert.Equal("made by curl\n", Builds.RunImage(machine, $"{server.Host}/demo/curl:1.0"));
    }

    [Fact]
    public async Task Recipe_that_makes_no_file_is_an_image_without_layers()
    {
        var job = await Builds.BuildOkAsync(server, "demo/empty", "tag=1.0", "FROM scratch\nLABEL kind=empty\n");

        var digest = job["result"]!["outputs"]![0]!["manifest"]!["digest"];
        var manifest = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/demo/empty/manifests/{digest}"))!;
        Assert.Empty(manifest["layers"]!.AsArray());
        var config = JsonNode.Parse(
            await server.Http.GetStringAsync($"/v2/demo/empty/blobs/{manifest["config"]!["digest"]}")
        )!;
        Assert.Equal("empty", config["config"]!["Labels"]!["kind"]!.GetValue<string>());
        Assert.Empty(config["rootfs"]!["diff_ids"]!.AsArray());
    }

    [Fact]
    public async Task Recipe_that_fails_says_which_step_with_what_code_and_the_end_of_its_log()
    {
        var job = await Builds.BuildAsync(
            server,
            "demo/fails",
            "tag=1.0",
            $"FROM {Base()}\nRUN echo all is well so far\nRUN echo the disk is made of cheese; exit 42\n"
        );

        Assert.Equal("failed", Builds.Text(job, "state"));
        Assert.Equal("recipe-error", Builds.Text(job, "reason"));
        Assert.Equal(42, job["tasks"]![0]!["exitCode"]!.GetValue<int>());
        var message = Builds.Text(job, "message")!;
        Assert.Contains("exit 42", message, StringComparison.Ordinal);
        Assert.Contains("the disk is made of cheese", message, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, await Builds.ManifestStatusAsync(server, "demo/fails", "1.0"));
    }

    /// <summary>
    /// What buildah says where the kernel does not let it start a step, which now and then happens on a busy machine and
    /// cannot be made to happen: tried again, and in the end not laid at the recipe's door.
    /// </summary>
    [Fact]
    public async Task Step_that_the_engine_could_not_start_is_tried_again()
    {
        const string Refused = "Close_Fd sealing memfd copy: Device or resource busy";

        var job = await Builds.BuildAsync(
            server,
            "hpc/unlucky",
            "tag=1.0",
            $"FROM {Base()}\nRUN echo '{Refused}' >&2; exit 1\n"
        );

        Assert.Equal("failed", Builds.Text(job, "state"));
        Assert.Equal("attempts-exhausted", Builds.Text(job, "reason"));
        Assert.Contains(Refused, Builds.Text(job, "message"), StringComparison.Ordinal);
        Assert.Contains("# attempt 3 ", await Builds.LogAsync(server, job), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Failed_build_leaves_the_tag_where_it_was()
    {
        var good = await Builds.BuildOkAsync(
            server,
            "demo/keeps",
            "tag=1.0",
            $"FROM {Base()}\nRUN echo good >/state\n"
        );
        await Builds.BuildAsync(server, "demo/keeps", "tag=1.0", $"FROM {Base()}\nRUN exit 1\n");

        using var answer = await server.Http.GetAsync("/v2/demo/keeps/manifests/1.0");
        Assert.Equal(
            good["result"]!["manifest"]!["digest"]!.GetValue<string>(),
            answer.Headers.GetValues("Docker-Content-Digest").Single()
        );
    }

    [Fact]
    public async Task Identical_request_afterwards_is_answered_at_once_from_the_result()
    {
        var recipe = $"FROM {Base()}\nRUN cat /proc/sys/kernel/random/uuid >/id\n";
        var first = await Builds.BuildOkAsync(server, "demo/same", "tag=1", recipe);

        using var answer = await Builds.PostRecipeAsync(server, "demo/same", "tag=2", recipe);
        var second = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.True(second["cached"]!.GetValue<bool>());
        Assert.NotEqual(Builds.Text(first, "id"), Builds.Text(second, "id"));
        Assert.Equal(HttpStatusCode.OK, await Builds.ManifestStatusAsync(server, "demo/same", "2"));
    }

    [Fact]
    public async Task Recipe_whose_last_step_changed_runs_only_that_step()
    {
        var start = $"FROM {Base()}\nRUN cat /proc/sys/kernel/random/uuid >/first\nRUN cat /first >/second\n";
        await Builds.BuildOkAsync(server, "demo/steps", "tag=1", start + "RUN echo one >/third\n");
        var job = await Builds.BuildOkAsync(server, "demo/steps", "tag=2", start + "RUN echo two >/third\n");

        var one = Builds.Unpack(machine, $"{server.Host}/demo/steps:1");
        var two = Builds.Unpack(machine, $"{server.Host}/demo/steps:2");
        Assert.Equal(await Read(one, "first"), await Read(two, "first"));
        Assert.Equal("two\n", await Read(two, "third"));
        var ran = job["tasks"]![0]!["steps"]!.AsArray().Where(step => step!["cached"]?.GetValue<bool>() != true);
        Assert.Equal(
            ["RUN echo two >/third"],
            ran.Select(step => Builds.Text(step!, "text"))
                .Where(text => text!.StartsWith("RUN", StringComparison.Ordinal))
        );
    }

    [Fact]
    public async Task Cached_step_whose_layer_was_deleted_is_run_again()
    {
        var start = $"FROM {Base()}\nRUN cat /proc/sys/kernel/random/uuid >/first\n";
        var first = await Builds.BuildOkAsync(server, "demo/lost", "tag=1", start + "RUN echo one >/second\n");
        await Builds.DeleteImageAsync(server, "demo/lost", first, "1");

        await Builds.BuildOkAsync(server, "demo/lost", "tag=2", start + "RUN echo two >/second\n");

        var two = Builds.Unpack(machine, $"{server.Host}/demo/lost:2");
        Assert.Equal("two\n", await Read(two, "second"));
    }

    [Fact]
    public async Task Steps_of_one_repository_are_not_used_by_another()
    {
        var recipe = $"FROM {Base()}\nRUN cat /proc/sys/kernel/random/uuid >/id\n";
        await Builds.BuildOkAsync(server, "alice/app", "tag=1", recipe);
        await Builds.BuildOkAsync(server, "bob/app", "tag=1", recipe);

        var alice = Builds.Unpack(machine, $"{server.Host}/alice/app:1");
        var bob = Builds.Unpack(machine, $"{server.Host}/bob/app:1");
        Assert.NotEqual(await Read(alice, "id"), await Read(bob, "id"));
    }

    [Fact]
    public async Task Products_carry_hints_measured_from_their_layers()
    {
        var job = await Builds.BuildOkAsync(
            server,
            "demo/hints",
            "tag=1",
            $"FROM {Base()}\nRUN echo data >/data && chown 7:8 /data && chmod 4755 /data\n"
        );

        var hints = job["tasks"]![0]!["hints"]!;
        Assert.Contains(7, hints["owners"]!.AsArray().Select(owner => owner!.GetValue<int>()));
        Assert.Equal(1, hints["setIdFiles"]!.GetValue<int>());
        Assert.Equal("caution", Builds.Text(hints, "flattenMode"));
        var index = JsonNode.Parse(await server.Http.GetStringAsync("/v2/demo/hints/manifests/1"))!;
        Assert.Equal(
            "caution",
            Builds.Text(index["manifests"]![0]!["annotations"]!, "org.supercontainers.flatten.mode")
        );
    }

    private static Task<string> Read(string root, string file) => File.ReadAllTextAsync(Path.Combine(root, file));

    private string Base() => BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
}
