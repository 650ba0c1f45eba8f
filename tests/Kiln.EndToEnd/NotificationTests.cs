using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;
using Kiln.TestPrograms;

namespace Kiln.EndToEnd;

/// <summary>
/// Debian's docker-registry, which knows nothing of builds, and a node that hears its notifications: no Kiln server anywhere.
/// </summary>
public sealed class NotificationTests(Machine machine)
{
    private const string Secret = "the-secret-of-this-test";
    private const string RecipeType = "application/vnd.supercontainers.build.recipe.v1";
    private const string DockerfileType = "application/vnd.supercontainers.build.dockerfile.v1";
    private const string LogType = "application/vnd.supercontainers.build.log.v1";

    [Fact]
    public async Task Recipe_pushed_to_a_registry_that_cannot_build_becomes_an_image_there()
    {
        Needs();
        var port = FreePort();
        using var registry = Registry(port);
        await using var node = Node(registry, port);
        await node.StartAsync();
        var name = $"{registry.Host}/hpc/hello";

        Push($"{name}:1.0.recipe", $"FROM {Base(registry)}\nCOPY data.txt /data.txt\nRUN echo made >/made\n", "files");
        await UntilAsync(node, () => Exists($"{name}:1.0"));

        var root = Builds.Unpack(machine, $"{name}:1.0");
        Assert.Equal("made\n", await File.ReadAllTextAsync(Path.Combine(root, "made")));
        Assert.Equal("from the context\n", await File.ReadAllTextAsync(Path.Combine(root, "data.txt")));
        var index = JsonNode.Parse(
            machine.RunAsUser("skopeo", "inspect", "--raw", "--tls-verify=false", $"docker://{name}:1.0").Ok().Output
        )!;
        var image = index["manifests"]![0]!;
        Assert.NotNull(image["annotations"]!["org.supercontainers.unpacked.files"]);
        var referrers = Discover($"{name}@{image["digest"]}");
        Assert.Contains("application/vnd.in-toto+json", referrers, StringComparison.Ordinal);
        Assert.Contains(LogType, referrers, StringComparison.Ordinal);
        // What the node has pushed was told to it as well, and nothing came of that.
        Assert.Single(node.Log().Split('\n'), line => line.Contains(" queued for ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Recipe_that_fails_is_told_beside_it()
    {
        Needs();
        var port = FreePort();
        using var registry = Registry(port);
        await using var node = Node(registry, port);
        await node.StartAsync();
        var name = $"{registry.Host}/hpc/broken";

        Push($"{name}:1.0.recipe", $"FROM {Base(registry)}\nRUN echo no such thing; exit 3\n");
        await UntilAsync(node, () => Discover($"{name}:1.0.recipe").Contains(LogType, StringComparison.Ordinal));

        Assert.False(Exists($"{name}:1.0"));
        Assert.Contains("recipe-error", node.Log(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Node_killed_in_mid_build_and_registry_that_is_away_delay_the_image_only()
    {
        Needs();
        var port = FreePort();
        using var registry = Registry(port);
        await using var node = Node(registry, port);
        await node.StartAsync();
        var name = $"{registry.Host}/hpc/slow";

        Push($"{name}:1.0.recipe", $"FROM {Base(registry)}\nRUN sleep 5; echo whole >/made\n");
        await UntilAsync(node, () => node.Log().Contains("attempt 1", StringComparison.Ordinal));
        await node.KillAsync();
        Assert.False(Exists($"{name}:1.0"));
        await node.StartAsync();
        await UntilAsync(node, () => node.Log().Contains("attempt 2", StringComparison.Ordinal));
        registry.Kill();
        await Task.Delay(TimeSpan.FromSeconds(8));
        registry.Start();
        await UntilAsync(node, () => Exists($"{name}:1.0"));

        var root = Builds.Unpack(machine, $"{name}:1.0");
        Assert.Equal("whole\n", await File.ReadAllTextAsync(Path.Combine(root, "made")));
    }

    private void Needs()
    {
        Assert.SkipUnless(DockerRegistry.IsHere, "NOT RUN: docker-registry is not on this machine");
        machine.Needs("oras");
    }

    private static DockerRegistry Registry(int port) =>
        new(tells: ($"http://127.0.0.1:{port}/notifications/site", $"Bearer {Secret}"));

    private NodeProcess Node(DockerRegistry registry, int port)
    {
        var folder = $"watch-{Guid.NewGuid():N}";
        machine.WriteFile(Secret + "\n", folder, "secret");
        var config = machine.WriteFile(
            $"""
            registries:
              - name: site
                host: {registry.Host}
                repositories: hpc/**
                secret-file: secret
            """,
            folder,
            "watch.yaml"
        );
        return new NodeProcess(machine, server: null)
        {
            Options = ["--watch-notifications", $"127.0.0.1:{port}", "--watch-config", config],
        };
    }

    private string Base(DockerRegistry registry) =>
        BaseImages.Push(machine, registry.Host, BaseImages.Busybox(machine), "library/busybox:latest");

    private void Push(string name, string recipe, params string[] more)
    {
        var folder = $"recipe-{Guid.NewGuid():N}";
        machine.WriteFile(recipe, folder, "Containerfile");
        machine.WriteFile("from the context\n", folder, "files", "data.txt");
        string[] command =
        [
            "oras",
            "push",
            "--plain-http",
            "--artifact-type",
            RecipeType,
            name,
            $"Containerfile:{DockerfileType}",
            .. more,
        ];
        machine.RunAsUser(["sh", "-c", $"cd {folder} && \"$@\"", "push", .. command]).Ok();
    }

    private bool Exists(string image) =>
        machine.RunAsUser("skopeo", "inspect", "--raw", "--tls-verify=false", $"docker://{image}").ExitCode == 0;

    private string Discover(string name) =>
        machine.RunAsUser("oras", "discover", "--plain-http", "--format", "json", name).Ok().Output;

    private static async Task UntilAsync(NodeProcess node, Func<bool> so)
    {
        var clock = Stopwatch.StartNew();
        while (!so())
        {
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(5), $"it does not come about:\n{node.Log()}");
            await Task.Delay(TimeSpan.FromMilliseconds(300));
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
