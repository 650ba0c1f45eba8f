using System.Diagnostics;

namespace Kiln.EndToEnd.Harness;

/// <summary>A registry that builds nothing itself, for nodes elsewhere.</summary>
public sealed class NodelessServer(Machine machine) : Server(machine)
{
    protected override IReadOnlyList<string> Options => ["--no-builds"];
}

/// <summary>The same with a policy, by which everybody may do everything and tools are asked to log in.</summary>
public sealed class NodelessPolicyServer(Machine machine) : Server(machine)
{
    private readonly string _policy = machine.WriteFile(
        """
        rules:
          - { who: everybody, repositories: "**", actions: [pull, push, build, lease] }
        """,
        $"policy-{Guid.NewGuid():N}",
        "policy.yaml"
    );

    protected override IReadOnlyList<string> Options => ["--no-builds", "--policy", _policy];
}

/// <summary>One <c>kiln node</c> of the ordinary user.</summary>
public sealed class NodeProcess(Machine machine, Server? server) : IAsyncDisposable
{
    private readonly string _directory = machine.In($"node-{Guid.NewGuid():N}");
    private Process? _process;

    /// <summary>What else is said to <c>kiln node</c>.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>What else stands in its environment, as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string> Variables { get; init; } = [];

    public string LogFile => Path.Combine(_directory, "node.log");

    public string DataDirectory => Path.Combine(_directory, "data");

    public string Log() => File.Exists(LogFile) ? File.ReadAllText(LogFile) : "(no log)";

    /// <summary>Starts the program; comes back when it has looked at the machine and asks for work.</summary>
    public async Task StartAsync()
    {
        machine.RunAsUser("mkdir", "-p", _directory).Ok();
        var before = Log().Split("building for ").Length;
        string[] node =
        [
            "env",
            .. Variables,
            .. machine.Kiln,
            "node",
            .. server is null ? Array.Empty<string>() : ["--server", $"http://{server.Host}"],
            "--data",
            DataDirectory,
            .. Options,
        ];
        _process = Process.Start(machine.AsUser(["sh", "-c", "exec \"$@\" >>\"$0\" 2>&1", LogFile, .. node]))!;
        _process.StandardInput.Close();
        var clock = Stopwatch.StartNew();
        while (Log().Split("building for ").Length == before)
        {
            if (_process.HasExited || clock.Elapsed > TimeSpan.FromSeconds(120))
                Assert.Fail($"kiln node did not start:\n{Log()}");
            await Task.Delay(TimeSpan.FromMilliseconds(50));
        }
    }

    public Task StopAsync() => EndAsync("TERM");

    public Task KillAsync() => EndAsync("KILL");

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _process?.Dispose();
    }

    private async Task EndAsync(string signal)
    {
        if (_process is not { HasExited: false } process)
            return;
        machine.RunAsUser("sh", "-c", $"kill -{signal} {process.Id}").Ok();
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        await process.WaitForExitAsync(patience.Token);
        Assert.True(signal == "KILL" || process.ExitCode == 0, $"kiln node ended with {process.ExitCode}:\n{Log()}");
    }
}
