using System.Net;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A server whose builds have little of everything.</summary>
public sealed class SmallServer(Machine machine) : Server(machine)
{
    protected override IReadOnlyList<string> Options =>
        ["--build-processes", "100", "--build-memory", "256M", "--build-disk", "200M", "--build-log", "1M"];
}

/// <summary>Recipes are hostile code.</summary>
public sealed class HostileRecipeTests(Machine machine, SmallServer server) : IClassFixture<SmallServer>
{
    [Fact]
    public async Task Fork_bomb_ends_and_the_server_goes_on_answering()
    {
        var marker = Random.Shared.Next(1_000_000, 9_999_999).ToString();
        using var answer = await Builds.PostRecipeAsync(
            server,
            "evil/fork",
            "tag=1&timeout=20",
            Recipe($"f() {{ sleep {marker} & f | f & }}; f; sleep {marker}")
        );
        var href = answer.Headers.Location!.ToString();
        for (var i = 0; i < 10; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await server.Http.GetAsync("/v2/")).StatusCode);
            await Task.Delay(TimeSpan.FromMilliseconds(100));
        }

        var job = await Builds.WaitAsync(server, href);

        Assert.Equal("failed", Builds.Text(job, "state"));
        await ProcessList.HasNoneAsync($"sleep {marker}");
    }

    [Fact]
    public async Task Build_that_takes_too_much_memory_is_ended_and_told_so()
    {
        var job = await Builds.BuildAsync(
            server,
            "evil/memory",
            "tag=1&timeout=60",
            Recipe("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
        );

        Assert.Equal("failed", Builds.Text(job, "state"));
        Assert.Equal("limit-exceeded", Builds.Text(job, "reason"));
        Assert.Contains("memory", Builds.Text(job, "message"), StringComparison.Ordinal);
    }

    // By a program that is all of the step, and by one that a shell starts.
    [Theory]
    [InlineData("")]
    [InlineData("; exit $?")]
    public async Task Single_file_over_the_limit_is_the_limits_and_not_the_recipes(string after)
    {
        var job = await Builds.BuildAsync(
            server,
            "evil/file",
            "tag=1&timeout=60",
            Recipe("dd if=/dev/zero of=/large bs=1M count=600" + after)
        );

        // Whoever watches the disk may have seen it first.
        Assert.Contains("200 MiB", Builds.Text(job, "message"), StringComparison.Ordinal);
        Assert.Equal("limit-exceeded", Builds.Text(job, "reason"));
    }

    [Fact]
    public async Task Build_that_writes_too_much_is_ended_and_leaves_nothing_on_the_disk()
    {
        var job = await Builds.BuildAsync(
            server,
            "evil/disk",
            "tag=1&timeout=60",
            Recipe(
                "mkdir -m 700 /d && chown 1000 /d && i=0 && while :; do dd if=/dev/zero of=/d/$i bs=1M count=50; i=$((i+1)); done"
            )
        );

        Assert.Equal("limit-exceeded", Builds.Text(job, "reason"));
        Assert.Contains("wrote more than 200 MiB", Builds.Text(job, "message"), StringComparison.Ordinal);
        await DirectoryList.IsEmptyAsync(machine, Path.Combine(server.DataDirectory, "node", "builds"));
    }

    [Fact]
    public async Task Log_flood_is_cut_at_the_limit_and_the_build_goes_on()
    {
        var job = await Builds.BuildOkAsync(
            server,
            "evil/log",
            "tag=1",
            Recipe("yes all work and no play | head -c 20000000")
        );

        var log = await Builds.LogAsync(server, job);
        Assert.InRange(log.Length, 1 << 19, (1 << 20) + 4096);
    }

    [Fact]
    public async Task Run_does_not_find_the_files_of_the_server()
    {
        await Builds.BuildOkAsync(
            server,
            "evil/files",
            "tag=1",
            Recipe(
                $"if ls -d {server.DataDirectory} {machine.Directory} || find / -xdev -name 'kiln.db*' -o -xdev -name secrets.key | grep .; then exit 9; fi"
            )
        );
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("10.0.2.2")]
    public async Task Run_does_not_reach_the_loopback_port_of_the_server(string address)
    {
        var port = server.Host.Split(':')[1];
        await Builds.BuildOkAsync(
            server,
            "evil/port",
            "tag=1",
            Recipe($"if timeout 5 wget -q -O - http://{address}:{port}/v2/; then exit 9; fi")
        );
    }

    [Fact]
    public async Task Run_that_kills_all_it_can_ends_only_its_own_build()
    {
        var job = await Builds.BuildAsync(server, "evil/kill", "tag=1&timeout=60", Recipe("kill -9 -1; sleep 2"));

        Assert.Equal("failed", Builds.Text(job, "state"));
        Assert.Equal(HttpStatusCode.OK, (await server.Http.GetAsync("/v2/")).StatusCode);
        await Builds.BuildOkAsync(server, "evil/kill", "tag=2", Recipe("echo still building"));
    }

    [Fact]
    public async Task Network_none_is_none_and_the_job_says_so()
    {
        var job = await Builds.BuildOkAsync(
            server,
            "evil/net",
            "tag=1&network=none",
            Recipe("if ip route | grep . || ip -4 addr | grep -v ' lo' | grep inet | grep -v 127; then exit 9; fi")
        );

        Assert.Equal("none", Builds.Text(job["tasks"]![0]!["confinement"]!, "network"));
    }

    [Fact]
    public void Link_out_of_the_context_brings_nothing_of_the_host()
    {
        var context = Path.GetDirectoryName(
            machine.WriteFile($"FROM {Base()}\nCOPY out/passwd /stolen\n", "evil-link", "Containerfile")
        )!;
        machine.RunAsUser("ln", "-sfn", "/etc", Path.Combine(context, "out")).Ok();

        var built = machine.RunKiln("build", "-t", $"{server.Host}/evil/link:1", context);

        // Refused is right, and so is a copy from inside of the context's own root.
        if (built.ExitCode == 0)
        {
            var root = Builds.Unpack(machine, $"{server.Host}/evil/link:1");
            Assert.DoesNotContain(
                machine.User,
                File.ReadAllText(Path.Combine(root, "stolen")),
                StringComparison.Ordinal
            );
        }
        else
        {
            built.Exits(1);
        }
    }

    [Fact]
    public void Secret_is_seen_by_the_run_that_asks_and_stays_nowhere()
    {
        var value = $"s3cr3t-{Guid.NewGuid():N}";
        var secret = machine.WriteFile(value, "secret-token");
        var context = Path.GetDirectoryName(
            machine.WriteFile(
                $"FROM {Base()}\nRUN --mount=type=secret,id=tok cat /run/secrets/tok && wc -c </run/secrets/tok >/size\nRUN test ! -e /run/secrets/tok\n",
                "evil-secret",
                "Containerfile"
            )
        )!;
        var image = $"{server.Host}/evil/secret:1";

        var built = machine.RunKiln("build", "-t", image, "--secret", $"id=tok,src={secret}", context).Ok();

        Assert.DoesNotContain(value, built.Output + built.Error, StringComparison.Ordinal);
        var root = Builds.Unpack(machine, image);
        Assert.Equal(value.Length.ToString(), File.ReadAllText(Path.Combine(root, "size")).Trim());
        machine.RunAsUser("grep", "-r", "-l", "-a", value, server.DataDirectory, root).Exits(1);
    }

    private string Recipe(string run) => $"FROM {Base()}\nRUN {run}\n";

    private string Base() => BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
}
