using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The client, <c>kiln build</c> and its sisters.</summary>
public sealed class ClientTests(Machine machine, Server server) : IClassFixture<Server>
{
    [Fact]
    public void Build_sends_the_directory_and_prints_the_digest()
    {
        var image = $"{server.Host}/client/app:1.0";
        machine.WriteFile(
            $"FROM {Base()}\nARG NAME\nCOPY . /app/\nRUN echo $NAME >/name\nCMD [\"cat\", \"/app/text\", \"/name\"]\n",
            "app",
            "Containerfile"
        );
        machine.WriteFile("Some text\n", "app", "text");
        machine.WriteFile("not for the image\n", "app", "left-out");
        machine.WriteFile("left-out\n", "app", ".containerignore");

        var built = machine.RunKiln("build", "-t", image, "--build-arg", "NAME=kiln", machine.In("app")).Ok();

        var digest = machine
            .RunAsUser("skopeo", "inspect", "--no-tags", "--raw", "--tls-verify=false", $"docker://{image}")
            .Ok();
        Assert.Contains(Digest(digest.Output), built.Output, StringComparison.Ordinal);
        Assert.Equal("Some text\nkiln\n", Builds.RunImage(machine, image));
        Assert.False(File.Exists(Path.Combine(Builds.Unpack(machine, image), "app/left-out")));
    }

    [Fact]
    public void Build_of_a_recipe_that_fails_exits_1_and_shows_why()
    {
        machine.WriteFile($"FROM {Base()}\nRUN echo no such luck >&2; exit 3\n", "fails", "Containerfile");

        var built = machine.RunKiln("build", "-t", $"{server.Host}/client/fails:1", machine.In("fails")).Exits(1);

        Assert.Contains("no such luck", built.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Build_without_a_tag_is_a_usage_error() => machine.RunKiln("build", machine.In()).Exits(2);

    [Fact]
    public void Build_on_a_registry_that_is_not_there_exits_3()
    {
        machine.WriteFile("FROM scratch\n", "nowhere", "Containerfile");
        machine.RunKiln("build", "-t", "127.0.0.1:1/client/app:1", machine.In("nowhere")).Exits(3);
    }

    [Fact]
    public void Jobs_lists_what_was_built_and_logs_shows_how()
    {
        machine.WriteFile($"FROM {Base()}\nRUN echo a line of its log\n", "listed", "Containerfile");
        machine.RunKiln("build", "-t", $"{server.Host}/client/listed:1", machine.In("listed")).Ok();

        var jobs = machine.RunKiln("jobs", "--json", $"{server.Host}/client/listed").Ok();
        var id = JsonNode.Parse(jobs.Output.Split('\n')[0])!["id"]!.GetValue<string>();
        var log = machine.RunKiln("logs", $"{server.Host}/client/listed", id).Ok();

        Assert.Contains("a line of its log", log.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Client_works_where_the_address_space_is_limited()
    {
        machine.WriteFile($"FROM {Base()}\nRUN echo small\n", "small", "Containerfile");
        string[] build = [.. machine.Kiln, "build", "-t", $"{server.Host}/client/small:1", machine.In("small")];

        machine.RunAsUser(["sh", "-c", "ulimit -v 4000000; exec \"$@\"", "limited", .. build]).Ok();
    }

    private static string Digest(string manifest) =>
        "sha256:"
        + Convert.ToHexStringLower(
            System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(manifest))
        );

    private string Base() => BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
}
