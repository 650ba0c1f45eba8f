using System.Collections.Concurrent;
using Kiln.Conformance;
using Kiln.Tests.Builds;

namespace Kiln.Tests.Conformance;

/// <summary>
/// The runner can fail: for everything that it checks there is a way to break a registry that is right, and then the
/// checks of it are red and no others.
/// </summary>
public abstract class MutationTests : IAsyncLifetime
{
    private static readonly string[] Slow =
    [
        "request.wait-held",
        "node.claim-wait",
        "node.expiry",
        "node.attempts",
        "hooks.retry",
        "hooks.gone",
        "hooks.redirect",
        "pull-build.over",
    ];
    private BuildServer? _server;

    private protected abstract IReadOnlyList<Mutation> Mutations { get; }

    /// <summary>The categories whose checks have to be in the table.</summary>
    protected abstract IReadOnlyList<string> Covered { get; }

    public async ValueTask InitializeAsync()
    {
        Assert.SkipWhen(
            TestState.IsPostgres || TestState.IsS3 || TestState.Servers > 1,
            "these are tests of the runner: where the server keeps its state is nothing to them"
        );
        _server = await ConformanceServer.StartAsync();
    }

    public ValueTask DisposeAsync() => _server?.DisposeAsync() ?? default;

    [Fact]
    public async Task A_registry_that_breaks_one_requirement_turns_exactly_its_checks_red()
    {
        var wrong = new ConcurrentBag<string>();
        await Parallel.ForEachAsync(
            Mutations,
            new ParallelOptions { MaxDegreeOfParallelism = 4 },
            async (mutation, _) =>
            {
                var red = await RedAsync(mutation);
                if (
                    !red.Keys.Order(StringComparer.Ordinal).SequenceEqual(mutation.Checks.Order(StringComparer.Ordinal))
                )
                {
                    wrong.Add(
                        $"{mutation.Name}: expected {mutation.Red}, but red are\n"
                            + string.Concat(red.Select(r => $"    {r.Key}: {r.Value}\n"))
                    );
                }
            }
        );

        Assert.True(wrong.IsEmpty, string.Join("\n", wrong));
    }

    [Fact]
    public void Every_check_is_turned_red_by_something()
    {
        var broken = Mutations.SelectMany(mutation => mutation.Checks).ToHashSet(StringComparer.Ordinal);
        var whole = CheckTable
            .All.Where(check => Covered.Contains(check.Category, StringComparer.Ordinal))
            .Select(check => check.Id)
            .Except(broken, StringComparer.Ordinal);
        Assert.Equal([], whole);
    }

    private async Task<Dictionary<string, string>> RedAsync(Mutation mutation)
    {
        await using var proxy = await BreakingProxy.StartAsync(new Uri($"http://{_server!.Host}"), mutation);
        // The groups that the checks belong to, as a whole: others of the group have to stay green.
        var groups = CheckTable.Groups.Where(group =>
            group.Any(check => mutation.Checks.Contains(check.Id, StringComparer.Ordinal))
        );
        var results = await ConformanceRun.RunAsync(
            ConformanceServer.Options(new Uri(proxy.Url)) with
            {
                Only = mutation.Waits
                    ? mutation.Checks
                    : [.. groups.SelectMany(group => group).Select(check => check.Id)],
                Patience = TimeSpan.FromSeconds(mutation.Waits ? 5 : 60),
                // What takes the registry its time is only waited for where it is to go wrong.
                Left = Slow.Where(id => !mutation.Checks.Contains(id, StringComparer.Ordinal))
                    .ToDictionary(id => id, _ => "takes its time", StringComparer.Ordinal),
            },
            told: null,
            TestContext.Current.CancellationToken
        );
        return results
            .Where(result => result.Outcome == Outcome.Fail)
            .ToDictionary(result => result.Check.Id, result => result.Reason!, StringComparer.Ordinal);
    }
}

public sealed class StoreMutationTests : MutationTests
{
    private protected override IReadOnlyList<Mutation> Mutations => [.. StoreMutations.All, .. DiscoverMutations.All];
    protected override IReadOnlyList<string> Covered => [Categories.Store, Categories.Discover];
}

public sealed class RequestMutationTests : MutationTests
{
    private protected override IReadOnlyList<Mutation> Mutations =>
        [
            .. RequestMutations.All,
            .. JobMutations.All,
            .. RecipeMutations.All,
            .. LogMutations.All,
            .. SharingMutations.All,
            .. ProvenanceMutations.All,
        ];
    protected override IReadOnlyList<string> Covered => [Categories.Request];
}

public sealed class NodeMutationTests : MutationTests
{
    private protected override IReadOnlyList<Mutation> Mutations => [.. NodeMutations.All, .. LeaseMutations.All];
    protected override IReadOnlyList<string> Covered => [Categories.Node];
}

public sealed class EventMutationTests : MutationTests
{
    private protected override IReadOnlyList<Mutation> Mutations =>
        [.. TriggerMutations.All, .. HookMutations.All, .. PullBuildMutations.All];
    protected override IReadOnlyList<string> Covered => [Categories.Trigger, Categories.Hooks, Categories.PullBuild];
}
