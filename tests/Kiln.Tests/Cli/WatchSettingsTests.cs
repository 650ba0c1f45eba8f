using Kiln.Cli;

namespace Kiln.Tests.Cli;

/// <summary>What <c>kiln node --watch-notifications</c> refuses before it does anything.</summary>
public sealed class WatchSettingsTests
{
    private const string Registry = "registries: [{ name: a, host: 'r.example:5000', repositories: 'hpc/**' }]\n";

    [Theory]
    [InlineData(null, null, "say for whom to build")]
    [InlineData("127.0.0.1:0", null, "needs --watch-config")]
    [InlineData("here", Registry, "is not an address to listen on")]
    [InlineData("127.0.0.1", Registry, "is not an address to listen on")]
    [InlineData("0.0.0.0:0", Registry, "can be reached by others, and a has no secret-file")]
    [InlineData(
        "127.0.0.1:0",
        "registries: [{ name: A, host: 'x/y', repositories: '**/x', colour: red }]\n",
        "has no key 'colour'"
    )]
    [InlineData("127.0.0.1:0", "registries: [{ name: A, host: 'x/y', repositories: '**/x' }]\n", "lower-case letters")]
    [InlineData("127.0.0.1:0", "registries: [{ name: A, host: 'x/y', repositories: '**/x' }]\n", "'x/y' is no host")]
    [InlineData(
        "127.0.0.1:0",
        "registries: [{ name: A, host: 'x/y', repositories: '**/x' }]\n",
        "may have ** at its end only"
    )]
    [InlineData("127.0.0.1:0", "registries: [{ name: a, host: x, repositories: a, user: u }]\n", "go together")]
    [InlineData("127.0.0.1:0", "trigger: on\n", "needs 'registries'")]
    public async Task Wrong_settings_are_told(string? listen, string? config, string why)
    {
        var directory = Directory.CreateTempSubdirectory("kiln-watch-cli-").FullName;
        var file = Path.Combine(directory, "watch.yaml");
        await File.WriteAllTextAsync(file, config ?? "", TestContext.Current.CancellationToken);
        string[] watch = listen is null ? [] : ["--watch-notifications", listen];
        string[] with = config is null ? [] : ["--watch-config", file];
        var error = new StringWriter();

        var code = await CommandLine.RunAsync(
            ["node", "--data", Path.Combine(directory, "data"), .. watch, .. with],
            TestShell.Create(error: error)
        );

        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains(why, error.ToString(), StringComparison.Ordinal);
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public async Task A_secret_that_could_be_guessed_is_refused()
    {
        var directory = Directory.CreateTempSubdirectory("kiln-watch-cli-").FullName;
        var file = Path.Combine(directory, "watch.yaml");
        var cancel = TestContext.Current.CancellationToken;
        await File.WriteAllTextAsync(
            file,
            "registries: [{ name: a, host: x, repositories: a, secret-file: s }]\n",
            cancel
        );
        await File.WriteAllTextAsync(Path.Combine(directory, "s"), "short\n", cancel);
        var error = new StringWriter();

        var code = await CommandLine.RunAsync(
            [
                "node",
                "--data",
                Path.Combine(directory, "data"),
                "--watch-notifications",
                "127.0.0.1:0",
                "--watch-config",
                file,
            ],
            TestShell.Create(error: error)
        );

        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("has no secret of 16 characters", error.ToString(), StringComparison.Ordinal);
        Directory.Delete(directory, recursive: true);
    }
}
