using System.Text.RegularExpressions;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A recipe pushed with oras becomes an image that other tools take away and run.</summary>
public sealed partial class RecipePushTests(Machine machine, Server server) : IClassFixture<Server>
{
    private const string RecipeType = "application/vnd.supercontainers.build.recipe.v1";
    private const string DockerfileType = "application/vnd.supercontainers.build.dockerfile.v1";

    [Fact]
    public async Task Recipe_pushed_by_oras_is_built_and_podman_runs_the_image()
    {
        machine.Needs("oras");
        machine.Needs("podman");
        var recipe =
            $"FROM {Base("recipes/one")}\nARG WHO=nobody\nRUN echo \"Hello $WHO\" >/hello\nCMD [\"cat\", \"/hello\"]\n";

        var pushed = Push("demo/hello:1.0.recipe", recipe, "--annotation", "org.supercontainers.build.arg.WHO=world");
        var job = await Builds.SucceededAsync(server, await Builds.WaitAsync(server, JobIn(pushed)));

        Assert.Equal("push", Builds.Text(job, "trigger"));
        Assert.Equal("1.0", job["tags"]![0]!.GetValue<string>());
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                $"docker://{server.Host}/demo/hello:1.0",
                $"oci:{machine.In("hello")}:1"
            )
            .Ok();
        Assert.Equal("Hello world\n", Builds.RunImage(machine, $"{server.Host}/demo/hello:1.0"));
    }

    [Fact]
    public async Task Recipe_pushed_with_a_directory_copies_from_it()
    {
        machine.Needs("oras");
        machine.WriteFile("from the context\n", "with-context", "files", "data.txt");
        var recipe = $"FROM {Base("recipes/two")}\nCOPY data.txt /data.txt\n";

        var pushed = Push("demo/context:2.recipe", recipe, "files");
        await Builds.SucceededAsync(server, await Builds.WaitAsync(server, JobIn(pushed)));

        var root = Builds.Unpack(machine, $"{server.Host}/demo/context:2");
        Assert.Equal("from the context\n", await File.ReadAllTextAsync(Path.Combine(root, "data.txt")));
    }

    [Fact]
    public async Task Same_recipe_pushed_again_is_answered_from_the_first_build()
    {
        machine.Needs("oras");
        var recipe = $"FROM {Base("recipes/three")}\nRUN cat /proc/sys/kernel/random/uuid >/id\n";

        var first = await Builds.WaitAsync(server, JobIn(Push("demo/again:1.recipe", recipe)));
        var second = await Builds.WaitAsync(server, JobIn(Push("demo/again:2.recipe", recipe)));

        await Builds.SucceededAsync(server, first);
        Assert.True(second["cached"]!.GetValue<bool>(), second.ToString());
        Assert.Equal(
            first["result"]!["outputs"]![0]!["manifest"]!["digest"]!.GetValue<string>(),
            second["result"]!["outputs"]![0]!["manifest"]!["digest"]!.GetValue<string>()
        );
    }

    private string Base(string name) => BaseImages.Push(machine, server, BaseImages.Busybox(machine), $"{name}:latest");

    /// <summary>Pushes a Containerfile, and perhaps more, as a person would from its directory.</summary>
    private Outcome Push(string name, string recipe, params string[] more)
    {
        machine.WriteFile(recipe, "with-context", "Containerfile");
        string[] command =
        [
            "oras",
            "push",
            "--plain-http",
            "--artifact-type",
            RecipeType,
            $"{server.Host}/{name}",
            $"Containerfile:{DockerfileType}",
            .. more,
        ];
        return machine.RunAsUser(["sh", "-c", "cd with-context && \"$@\"", "push", .. command]).Ok();
    }

    /// <summary>The job that oras names in the registry's warning.</summary>
    private static string JobIn(Outcome pushed)
    {
        var said = pushed.Output + pushed.Error;
        var job = JobPath().Match(said);
        Assert.True(job.Success, $"oras shows no job: {said}");
        return job.Value;
    }

    [GeneratedRegex("/v2/[a-z0-9/._-]+/_build/v1/jobs/[a-z0-9-]+")]
    private static partial Regex JobPath();
}
