using Kiln.Cli;
using Kiln.Server;
using Kiln.Tests.Cli;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Collection;

/// <summary>What an operator sees of collections and quotas on the command line, and writes in the configuration.</summary>
public sealed class StorageVerbTests
{
    [Fact]
    public async Task Gc_says_what_would_go_and_why_then_deletes_it_and_says_so()
    {
        await using var server = await CollectedServer.StartAsync();
        var host = new Uri(server.Server.Url).Authority;
        var image = await server.Http.PushAsync("a/b", Samples.Image());

        var (code, said) = await RunAsync("gc", "--registry", host);
        Assert.Equal(
            (0, true),
            (code, said.StartsWith("nothing deleted. Waiting: 1 manifest", StringComparison.Ordinal))
        );
        server.Time.Advance(TimeSpan.FromDays(30));

        (code, said) = await RunAsync("gc", "--dry-run", "--registry", host);
        Assert.Equal(0, code);
        Assert.Contains($"would be deleted manifest a/b@{image["digest"]}", said, StringComparison.Ordinal);
        Assert.Contains("the default gives it 30 days", said, StringComparison.Ordinal);
        (_, said) = await RunAsync("gc", "--registry", host, "--json");
        Assert.Contains("\"action\":\"deleted\"", said, StringComparison.Ordinal);
        Assert.Contains("\"summary\":{", said, StringComparison.Ordinal);
        var audit = await File.ReadAllTextAsync(Path.Combine(server.Server.DataDirectory, "audit.log"));
        Assert.Contains("\"principal\":\"kiln:gc\"", audit, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Quota_shows_what_is_used_of_what_there_is()
    {
        await using var server = await CollectedServer.StartAsync(options =>
            options with
            {
                Quotas = new QuotaOptions
                {
                    Rules =
                    [
                        new QuotaRule
                        {
                            Repositories = ["a/**"],
                            MaxBytes = 1_000_000,
                            MaxTags = 5,
                        },
                    ],
                },
            }
        );
        await server.Http.PushAsync("a/b", Samples.Image(), "1");

        var (code, said) = await RunAsync("quota", "--registry", new Uri(server.Server.Url).Authority);

        Assert.Equal(0, code);
        Assert.Contains("a/**", said, StringComparison.Ordinal);
        Assert.Contains("of 1 MB", said, StringComparison.Ordinal);
        Assert.Contains("1 of 5", said, StringComparison.Ordinal);
    }

    [Fact]
    public void The_configuration_file_has_all_rules()
    {
        var (options, faults) = Load(
            """
            garbage-collection: { interval: 2h, keep-untagged: never, keep-logs: 7d }
            retention:
              - { repositories: ci/**, tags: "pr-*", keep-newest: 3, keep-younger: 2d, keep-tags: [a, "b*"] }
              - { repositories: [a/b, c/d], delete-untagged-after: 0s, keep-newest-untagged: 1 }
            immutable-tags:
              - { repositories: release/**, tags: "v*" }
            quotas:
              - { repositories: team/**, max-bytes: 5GiB, max-tags: 7 }
            """
        );

        Assert.Empty(faults);
        Assert.Equal((TimeSpan.FromHours(2), null), (options!.Collection.Interval, options.Collection.KeepUntagged));
        Assert.Equal(TimeSpan.FromDays(7), options.Collection.KeepLogs);
        var rule = options.Retention.Rules[0];
        Assert.Equal(
            (3, TimeSpan.FromDays(2), (TimeSpan?)null),
            (rule.KeepNewest, rule.KeepYounger, rule.DeleteUntaggedAfter)
        );
        Assert.Equal((string[])["a", "b*"], rule.KeepTags);
        Assert.Equal((string[])["*"], options.Retention.Rules[1].Tags);
        Assert.Equal(TimeSpan.Zero, options.Retention.Rules[1].DeleteUntaggedAfter);
        Assert.Equal((string[])["v*"], Assert.Single(options.Immutability.Rules).Tags);
        var quota = Assert.Single(options.Quotas.Rules);
        Assert.Equal((5L << 30, 7, null), (quota.MaxBytes, quota.MaxTags, quota.MaxRepositories));
    }

    [Fact]
    public void Rules_that_are_wrong_are_told_with_their_lines()
    {
        var (_, faults) = Load(
            """
            retention:
              - { tags: "no such" }
            quotas:
              - repositories: "{user}/**"
              - repositories: team/**
            """
        );

        Assert.Contains(faults, f => f.Contains(":2: ", StringComparison.Ordinal) && f.Contains("'repositories'"));
        Assert.Contains(faults, f => f.Contains("'no such' is no pattern for tags", StringComparison.Ordinal));
        Assert.Contains(faults, f => f.Contains(":4: ", StringComparison.Ordinal));
        Assert.Contains(faults, f => f.Contains(":5: ", StringComparison.Ordinal) && f.Contains("limits nothing"));
    }

    private static (ServerOptions? Options, IReadOnlyList<string> Faults) Load(string text)
    {
        var file = Path.GetTempFileName();
        File.WriteAllText(file, text);
        var result = ServerConfiguration.Load(
            new ConfigurationSources
            {
                DataDirectory = "/default",
                File = file,
                Variables = new Dictionary<string, string>(),
                Flags = new Dictionary<string, IReadOnlyList<string>>(),
            }
        );
        File.Delete(file);
        return (result.Options, result.Faults);
    }

    private static async Task<(int Code, string Out)> RunAsync(params string[] arguments)
    {
        var (output, error) = (new StringWriter(), new StringWriter());
        var code = await CommandLine.RunAsync(arguments, TestShell.Create(output, error));
        return (code, output.ToString() + error);
    }
}
