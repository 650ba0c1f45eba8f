using Kiln.BuildSpec;
using Kiln.Cli;

namespace Kiln.Tests.Cli;

/// <summary>How words of the command line are read, and what is said of those that are wrong.</summary>
public sealed class ArgumentTests : IAsyncLifetime
{
    private BuildRegistry _registry = null!;
    private JobRequest? _request;

    public async ValueTask InitializeAsync()
    {
        _registry = await BuildRegistry.StartAsync();
        _registry.Job = ("succeeded", [BuildRegistry.Task("t1", state: "succeeded")]);
        _registry.Asked = request => _request = request;
    }

    public ValueTask DisposeAsync() => _registry.DisposeAsync();

    [Theory]
    [InlineData("2h", 7200)]
    [InlineData("90m", 5400)]
    [InlineData("30s", 30)]
    [InlineData("1h30m", 5400)]
    [InlineData("3600", 3600)]
    public async Task Times_are_written_as_in_a_configuration(string text, int seconds)
    {
        var code = await _registry.BuildAsync("--timeout", text, "--queue-timeout", text, "--max-age", text);

        Assert.Equal("", code == 0 ? "" : _registry.Error);
        Assert.Equal(seconds, _request!.TimeoutSeconds);
        Assert.Equal(seconds, _request.QueueSeconds);
        Assert.Equal(seconds, _request.Cache!.MaxAgeSeconds);
    }

    [Theory]
    [InlineData("64GiB", 64L << 30)]
    [InlineData("500MiB", 500L << 20)]
    [InlineData("2TiB", 2L << 40)]
    [InlineData("500M", 500L << 20)]
    [InlineData("8g", 8L << 30)]
    [InlineData("4096", 4096)]
    public async Task Sizes_are_written_as_in_a_configuration(string text, long bytes)
    {
        var code = await _registry.BuildAsync("--memory", text, "--disk", text);

        Assert.Equal("", code == 0 ? "" : _registry.Error);
        Assert.Equal((bytes, bytes), (_request!.Resources!.MemoryBytes, _request.Resources.DiskBytes));
    }

    [Theory]
    [InlineData("--timeout", "soon")]
    [InlineData("--timeout", "100ms")]
    [InlineData("--queue-timeout", "-5")]
    [InlineData("--max-age", "x")]
    [InlineData("--cpus", "two")]
    [InlineData("--gpus", "1.5")]
    [InlineData("--memory", "lots")]
    [InlineData("--disk", "0")]
    [InlineData("--source-date-epoch", "today")]
    public async Task A_wrong_number_is_told_in_words_of_ours(string option, string text)
    {
        Assert.Equal(ExitCodes.Usage, await _registry.BuildAsync(option, text));

        Assert.StartsWith($"kiln: {option}: '{text}' is not a ", _registry.Error);
        Assert.DoesNotContain("System.", _registry.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_help_of_a_node_has_sizes_that_can_be_read()
    {
        await _registry.RunAsync("node", "--help");

        Assert.Contains("[default: 8GiB]", _registry.Out, StringComparison.Ordinal);
        Assert.DoesNotContain("8589934592", _registry.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("logs", "HOST/NAME 01jqk8m")]
    [InlineData("cancel", "HOST/NAME 01jqk8m")]
    [InlineData("inspect", "HOST/NAME 01jqk8m for a job")]
    public async Task A_jobs_id_alone_is_answered_with_what_lacks(string verb, string advice)
    {
        Assert.Equal(ExitCodes.Usage, await _registry.RunAsync(verb, "01jqk8m"));
        Assert.Contains(advice, _registry.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("logs", "kiln logs <repository> [<id>]")]
    [InlineData("cancel", "kiln cancel <repository> [<id>]")]
    [InlineData("inspect", "kiln inspect <image> [<id>]")]
    [InlineData("serve", "Build nothing here")]
    public async Task The_help_says_what_a_command_takes(string verb, string usage)
    {
        await _registry.RunAsync(verb, "--help");
        var words = _registry.Out.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains(usage.Replace("kiln ", "", StringComparison.Ordinal), string.Join(' ', words));
        Assert.DoesNotContain("Not: ", _registry.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_definition_that_is_not_there_is_no_directory_that_is_not_there()
    {
        var code = await _registry.RunAsync("build", "-t", $"{_registry.Host}/a:1", "/nonexistent/missing.def");

        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("no such file or directory: '/nonexistent/missing.def'", _registry.Error);
    }

    [Fact]
    public async Task One_file_is_no_files()
    {
        var folder = Directory.CreateTempSubdirectory("kiln-cli-");
        try
        {
            var recipe = Path.Combine(folder.FullName, "Containerfile");
            await File.WriteAllTextAsync(recipe, "FROM scratch\n", TestContext.Current.CancellationToken);
            await _registry.RunAsync("build", "-t", $"{_registry.Host}/a:1", folder.FullName);
            Assert.Contains("context: 1 file, ", _registry.Error, StringComparison.Ordinal);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("zen33", "did you mean 'zen3'?")]
    [InlineData("nonsense", "write it as archspec does")]
    [InlineData("zen3", null)]
    [InlineData("site-own", null)]
    public async Task A_misspelt_microarchitecture_is_refused(string name, string? advice)
    {
        var code = await _registry.BuildAsync("--microarchitecture", name);

        Assert.Equal(advice is null ? ExitCodes.Ok : ExitCodes.Usage, code);
        Assert.Contains(advice ?? "", _registry.Error, StringComparison.Ordinal);
        Assert.Equal(advice is not null, _request is null);
    }
}
