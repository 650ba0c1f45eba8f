using System.Text.Json;
using Kiln.Cli;
using Kiln.Server;
using Kiln.Server.Configuration;
using Kiln.Tests.Architecture;
using Kiln.Tests.Cli;

namespace Kiln.Tests.Configuration;

/// <summary>The configuration: file, environment and command line as one.</summary>
public sealed class ConfigurationTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-config-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Nothing_said_is_what_a_server_does_by_itself()
    {
        foreach (var text in new[] { null, "", "# nothing\n", "builds:\n  # concurrent: 2\naccess:\n" })
        {
            var result = Load(text);

            Assert.Empty(result.Faults);
            Assert.Equal(new ServerOptions { DataDirectory = "/default" }, result.Options);
        }
    }

    [Fact]
    public void A_file_sets_what_the_options_have()
    {
        var result = Load(
            """
            data: data
            durability: relaxed
            urls: https://0.0.0.0:443
            policy: policy.yaml
            database: postgres://kiln@db/kiln
            database-password-file: /run/secrets/db
            registry:
              sparse-manifests: indexes
              max-blob: 10 GiB
              upload-expiry: 1d12h
            access:
              public-url: https://registry.example.org
              trusted-proxies: [10.0.0.7, 10.1.0.0/16]
              audit-log: stderr
            builds:
              concurrent: 4
              memory: 16G
              disk: 40GB
              timeout: 7200
              insecure-registries: cache.example.org
            """
        );

        Assert.Empty(result.Faults);
        var options = result.Options;
        Assert.Equal(Path.Combine(_folder, "data"), options.DataDirectory);
        Assert.Equal(Durability.Relaxed, options.Durability);
        Assert.Equal(Path.Combine(_folder, "policy.yaml"), options.Access.PolicyFile);
        Assert.Equal("/run/secrets/db", options.DatabasePasswordFile);
        Assert.Equal(SparseManifests.Indexes, options.Sparse);
        Assert.Equal(10L << 30, options.MaxBlobBytes);
        Assert.Equal(TimeSpan.FromHours(36), options.UploadExpiry);
        Assert.Equal(["10.0.0.7", "10.1.0.0/16"], options.Access.TrustedProxies);
        Assert.Equal("stderr", options.Access.AuditLog);
        Assert.Equal((4, 16L << 30), (options.Build.Concurrency, options.Build.MemoryBytes));
        Assert.Equal(40_000_000_000, options.Build.DiskBytes);
        Assert.Equal(7200, options.Build.MaxTimeoutSeconds);
        Assert.Equal(["cache.example.org"], options.Build.InsecureRegistries);
    }

    [Fact]
    public void A_flag_counts_before_a_variable_and_that_before_the_file()
    {
        const string text =
            "builds: { concurrent: 2, attempts: 2, timeout: 2s, enabled: true }\naccess: { tls-key: k }";
        var variables = new Dictionary<string, string>
        {
            ["KILN_BUILDS_CONCURRENT"] = "3",
            ["KILN_BUILDS_ATTEMPTS"] = "3",
            ["KILN_BUILDS_TIMEOUT"] = "",
            ["KILN_ACCESS_TRUSTED_PROXIES"] = "10.0.0.1, 10.0.0.2",
        };
        var flags = new Dictionary<string, IReadOnlyList<string>>
        {
            ["--concurrent-builds"] = ["4"],
            ["--no-builds"] = ["true"],
            ["--tls-key"] = ["key.pem"],
        };

        var result = Load(text, variables, flags);

        Assert.Empty(result.Faults);
        Assert.Equal((4, 3), (result.Options.Build.Concurrency, result.Options.Build.MaxAttempts));
        Assert.Equal((2, 2), (result.Options.Build.MaxTimeoutSeconds, result.Options.Build.DefaultTimeoutSeconds));
        Assert.False(result.Options.Build.LocalNode);
        Assert.Equal(["10.0.0.1", "10.0.0.2"], result.Options.Access.TrustedProxies);
        Assert.Equal(Path.GetFullPath("key.pem"), result.Options.Access.KeyFile);
    }

    [Fact]
    public void All_faults_are_told_at_once_each_with_its_place()
    {
        var result = Load(
            """
            polcy: policy.yaml
            urls:
            registry:
              sparse-manifests: index
              max-blob: lots
              upload-expiry: 3 fortnights
              max-uploads: 0
            access: yes
            builds:
              concurent: 4
              enabled: maybe
              memory: [8G]
              lease: 1ms
              insecure-registries: []
            """,
            new Dictionary<string, string> { ["KILN_BUILDS_DISK"] = "x", ["KILN_BUILDS_CONCURENT"] = "2" },
            new Dictionary<string, IReadOnlyList<string>> { ["--audit-max-bytes"] = ["1"] }
        );

        (string Place, string Part)[] expected =
        [
            (":1:", "no key 'polcy'; did you mean 'policy'?"),
            (":2:", "urls must be a text"),
            (":4:", "registry.sparse-manifests: 'index' is not known; did you mean 'indexes'?"),
            (":5:", "'lots' is not a size"),
            (":6:", "'3 fortnights' is not a time"),
            (":7:", "from 1 to 1000000"),
            (":8:", "must be a mapping"),
            (":10:", "did you mean 'concurrent'?"),
            (":11:", "neither true nor false"),
            (":12:", "builds.memory must be a text"),
            (":13:", "'1ms' is not from 5s to 1d"),
            (":14:", "must not be empty"),
            ("KILN_BUILDS_DISK:", "'x' is not a size"),
            ("--audit-max-bytes:", "'1' is not from 4KiB"),
        ];
        foreach (var (place, part) in expected)
        {
            Assert.Contains(result.Faults, f => f.Contains(place) && f.Contains(part));
        }

        Assert.Equal(expected.Length, result.Faults.Count);
        Assert.Contains("did you mean KILN_BUILDS_CONCURRENT?", Assert.Single(result.Warnings));
    }

    [Theory]
    [InlineData("builds: [")]
    [InlineData("a: b\na: c")]
    [InlineData("builds: &x { memory: *x }")]
    [InlineData("- a")]
    [InlineData("--- {}\n--- {}")]
    [InlineData("just words")]
    [InlineData("\0\u0001")]
    public void What_is_no_configuration_is_refused_with_a_reason(string text) => Assert.NotEmpty(Load(text).Faults);

    [Theory]
    [InlineData("1024", 1024L)]
    [InlineData("1K", 1024L)]
    [InlineData("1KiB", 1024L)]
    [InlineData("1kB", 1000L)]
    [InlineData("2 TiB", 2L << 40)]
    [InlineData("8G", 8L << 30)]
    [InlineData("8g", null)]
    [InlineData("-1", null)]
    [InlineData("", null)]
    [InlineData("9999999999999999T", null)]
    [InlineData("99999999999999999999", null)]
    public void A_size_is_this_many_bytes(string text, long? bytes) => Assert.Equal(bytes, Kinds.ParseSize(text));

    [Theory]
    [InlineData("90", 90_000L)]
    [InlineData("1500ms", 1_500L)]
    [InlineData("1h30m", 5_400_000L)]
    [InlineData("7d", 604_800_000L)]
    [InlineData("1h 30m", null)]
    [InlineData("5 minutes", null)]
    [InlineData("-5s", null)]
    [InlineData("", null)]
    [InlineData("999999999d", null)]
    public void A_time_is_so_long(string text, long? milliseconds) =>
        Assert.Equal(milliseconds, (long?)Kinds.ParseDuration(text)?.TotalMilliseconds);

    /// <summary>Write it anew with: kiln serve --print-schema > docs/config.schema.json</summary>
    [Fact]
    public async Task The_schema_in_the_documentation_is_the_one_that_the_program_prints()
    {
        var (code, printed, _) = await RunAsync("serve", "--print-schema");

        Assert.Equal(0, code);
        Assert.Equal(await File.ReadAllTextAsync(Path.Combine(SourceTree.Root, "docs", "config.schema.json")), printed);
        using var schema = JsonDocument.Parse(printed);
        var builds = schema.RootElement.GetProperty("properties").GetProperty("builds").GetProperty("properties");
        Assert.Equal("8GiB", builds.GetProperty("memory").GetProperty("default").GetString());
    }

    [Fact]
    public async Task A_wrong_configuration_ends_the_program_with_all_that_is_wrong()
    {
        var file = Write("builds: { concurrent: 0 }\nnonsense: 1\n");

        var (code, _, said) = await RunAsync("serve", "--config", file, "--build-memory", "much");

        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains($"{file}:1: builds.concurrent: '0' is not a whole number from 1 to 1000", said);
        Assert.Contains($"{file}:2: the configuration has no key 'nonsense'", said);
        Assert.Contains("--build-memory: 'much' is not a size", said);
    }

    [Fact]
    public async Task The_help_text_has_every_flag_with_its_standard()
    {
        var (code, said, _) = await RunAsync("serve", "--help");

        Assert.Equal(0, code);
        foreach (var flag in ServerConfiguration.Flags())
        {
            Assert.Contains(flag.Name, said);
        }

        Assert.Contains("[default: 8GiB]", said);
        Assert.DoesNotContain("--no-builds <", said);
    }

    private ConfigurationResult Load(
        string? text,
        IReadOnlyDictionary<string, string>? variables = null,
        IReadOnlyDictionary<string, IReadOnlyList<string>>? flags = null
    ) =>
        ServerConfiguration.Load(
            new ConfigurationSources
            {
                DataDirectory = "/default",
                File = text is null ? null : Write(text),
                Variables = variables ?? new Dictionary<string, string>(),
                Flags = flags ?? new Dictionary<string, IReadOnlyList<string>>(),
            }
        );

    private string Write(string text)
    {
        var file = Path.Combine(_folder, "kiln.yaml");
        File.WriteAllText(file, text);
        return file;
    }

    private static async Task<(int Code, string Out, string Error)> RunAsync(params string[] arguments)
    {
        var (output, error) = (new StringWriter(), new StringWriter());
        var code = await CommandLine.RunAsync(arguments, TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }
}
