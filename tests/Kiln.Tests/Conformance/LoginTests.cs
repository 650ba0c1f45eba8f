using Kiln.Conformance;
using Kiln.Tests.Access;
using Kiln.Tests.Registry.Upstreams;

namespace Kiln.Tests.Conformance;

/// <summary>The runner where somebody has to log in, and at a registry that others have written.</summary>
public sealed class LoginTests
{
    /// <summary>
    /// What Debian's docker-registry 2.8 does otherwise than the specification of today. It has no referrers, and an answer
    /// about a range that cannot be had breaks off.
    /// </summary>
    private static readonly string[] WrongAtDocker =
    [
        "store.upload-out-of-order",
        "store.blob-range-beyond",
        "store.blob-sha512",
        "store.manifest-bad-digest",
        "store.tags-page",
    ];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_registry_of_others_is_judged_behind_its_basic_login()
    {
        using var registry = ThroughServer.RequireRegistry(AccessServer.Htpasswd("kiln"));
        var options = ConformanceServer.Options(new Uri($"http://{registry.Host}"));

        var results = await ConformanceRun.RunAsync(
            options with
            {
                UserName = "kiln",
                Password = AccessServer.PasswordOf("kiln"),
            },
            null,
            Cancel
        );

        var wrong = results.Where(result => result.Outcome == Outcome.Fail).ToList();
        Assert.True(
            // It lists tags as its file system happens to give them, which may be the right order.
            wrong
                .Select(result => result.Check.Id)
                .Where(id => id != "store.tags")
                .SequenceEqual(WrongAtDocker, StringComparer.Ordinal),
            string.Join('\n', wrong.Select(result => $"{result.Check}: {result.Reason}"))
        );
        Assert.Contains(results, result => result is { Check.Id: "store.referrers", Outcome: Outcome.Unsupported });
        Assert.All(
            results.Where(result => result.Check.Category != Categories.Store),
            result => Assert.Equal(Outcome.Unsupported, result.Outcome)
        );
    }

    [Fact]
    public async Task Who_has_no_login_is_told_so()
    {
        await using var server = await AccessServer.StartAsync();

        var results = await RunAsync(server, null);

        Assert.All(results, result => Assert.NotEqual(Outcome.Pass, result.Outcome));
        Assert.Contains(results, result => result.Reason!.Contains("answered 401", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_login_is_made_by_the_token_service()
    {
        await using var server = await AccessServer.StartAsync();

        var results = await RunAsync(server, "all");

        Assert.All(results, result => Assert.True(result.Outcome == Outcome.Pass, $"{result.Check}: {result.Reason}"));
    }

    private static Task<IReadOnlyList<CheckResult>> RunAsync(AccessServer server, string? user) =>
        ConformanceRun.RunAsync(
            new ConformanceOptions
            {
                Url = new Uri($"http://{server.Host}"),
                Repository = "team/a",
                OtherRepository = "team/b",
                UserName = user,
                Password = user is null ? null : AccessServer.PasswordOf(user),
                Only = ["store.upload-put", "store.mount", "store.manifest-get-tag", "store.delete-tag", "store.tags"],
            },
            null,
            Cancel
        );
}
