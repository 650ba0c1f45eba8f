using System.Net;
using System.Text.RegularExpressions;
using Kiln.EndToEnd.Harness;
using Kiln.TestPrograms;

namespace Kiln.EndToEnd;

/// <summary>Kiln in front of Debian's docker-registry, which knows two users.</summary>
public sealed class GuardedFront(Machine machine) : Server(machine)
{
    // bcrypt hashes of the passwords "alice-secret" and "kiln-secret".
    private const string Users = """
        alice:$2y$04$ukhyoplSIp6wEHlzXCqD8uf4vJ7uiC9TQVIVQ1pAIhkregf6QP7NK
        kiln:$2y$04$Gg4f8Apj4ptBNeaw47jGQeFEIs1457hbOT93QlEW6hthNME7hLWo.

        """;

    private readonly Machine _machine = machine;

    internal DockerRegistry Behind { get; } = new(Users);

    protected override IReadOnlyList<string> Options =>
        [
            "--upstream",
            $"http://{Behind.Host}",
            "--upstream-user",
            "kiln",
            "--upstream-password-file",
            _machine.WriteFile("kiln-secret\n", "front", "password"),
            "--trigger",
            "on",
        ];
}

/// <summary>A registry that is there already gets builds; its users, its content and its tools stay what they are.</summary>
public sealed partial class FrontTests(Machine machine, GuardedFront server) : IClassFixture<GuardedFront>
{
    private const string RecipeType = "application/vnd.supercontainers.build.recipe.v1";
    private const string DockerfileType = "application/vnd.supercontainers.build.dockerfile.v1";
    private const string Alice = "alice:alice-secret";

    [Fact]
    public async Task A_recipe_pushed_by_oras_lands_as_an_image_behind_also_when_that_is_killed_meanwhile()
    {
        machine.Needs("oras");
        LogIn();
        Copy($"oci:{BaseImages.Busybox(machine)}:latest", $"docker://{server.Host}/team/base:1");
        machine.WriteFile(
            $"FROM {server.Host}/team/base:1\nRUN sleep 5; echo behind >/hello\nCMD [\"cat\", \"/hello\"]\n",
            "front-recipe",
            "Containerfile"
        );
        var said = machine
            .RunAsUser(
                "sh",
                "-c",
                "cd front-recipe && \"$@\"",
                "push",
                "oras",
                "push",
                "--plain-http",
                "--artifact-type",
                RecipeType,
                $"{server.Host}/team/hello:1.0.recipe",
                $"Containerfile:{DockerfileType}"
            )
            .Ok();
        var job = JobPath().Match(said.Output + said.Error);
        Assert.True(job.Success, $"oras shows no job: {said}");
        server.Http.DefaultRequestHeaders.Authorization = Basic(Alice);
        await Builds.WaitForStateAsync(server, job.Value, "running");
        await Task.Delay(TimeSpan.FromSeconds(3), TestContext.Current.CancellationToken);
        server.Behind.Kill();
        await Task.Delay(TimeSpan.FromSeconds(8), TestContext.Current.CancellationToken);
        server.Behind.Start();

        await Builds.SucceededAsync(server, await UntilDoneAsync(job.Value));
        Copy($"docker://{server.Behind.Host}/team/hello:1.0", $"oci:{machine.In("front-hello")}:1");
        var root = Builds.Unpack(machine, $"{server.Behind.Host}/team/hello:1.0");
        Assert.Equal(
            "behind\n",
            await File.ReadAllTextAsync(Path.Combine(root, "hello"), TestContext.Current.CancellationToken)
        );
    }

    [Fact]
    public async Task Who_is_nobody_behind_gets_no_build()
    {
        using var answer = await Builds.PostRecipeAsync(server, "team/none", "tag=1", "FROM scratch\nCOPY a /a\n");
        if (server.Http.DefaultRequestHeaders.Authorization is null)
        {
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
            Assert.Contains("Basic", answer.Headers.WwwAuthenticate.ToString());
        }
    }

    // Each client keeps logins in a place of its own; the registry behind hears them.
    private void LogIn()
    {
        var (user, password) = (Alice.Split(':')[0], Alice.Split(':')[1]);
        foreach (var host in new[] { server.Host, server.Behind.Host })
        {
            machine.RunAsUser("skopeo", "login", "-u", user, "-p", password, "--tls-verify=false", host).Ok();
            machine
                .RunAsUser(
                    "sh",
                    "-c",
                    "echo \"$2\" | oras login --plain-http -u \"$1\" --password-stdin \"$3\"",
                    "login",
                    user,
                    password,
                    host
                )
                .Ok();
        }
    }

    private void Copy(string from, string to) =>
        machine.RunAsUser("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", from, to).Ok();

    // While the registry behind is away, nobody is known to be allowed to read the job.
    private async Task<System.Text.Json.Nodes.JsonNode> UntilDoneAsync(string job)
    {
        for (var i = 0; i < 120; i++)
        {
            using var answer = await server.Http.GetAsync(job, TestContext.Current.CancellationToken);
            if (answer.IsSuccessStatusCode)
                return await Builds.WaitAsync(server, job);
            await Task.Delay(TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken);
        }

        Assert.Fail($"the job cannot be read:\n{server.Log()}");
        return null!;
    }

    private static System.Net.Http.Headers.AuthenticationHeaderValue Basic(string login) =>
        new("Basic", Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes(login)));

    [GeneratedRegex(@"/v2/team/hello/_build/v1/jobs/[a-z0-9-]+")]
    private static partial Regex JobPath();
}
