using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Cli;
using Kiln.Tests.Client;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node;

/// <summary>A node that the registry does not let ask for work: for ever, or for a moment.</summary>
public sealed class BuildNodeTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_node_that_is_refused_at_its_first_claim_ends()
    {
        var accepted = 0;
        var coordinator = new TestCoordinator { Claims = _ => throw Refusal() };

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            RunAsync(coordinator, new TestLauncher(), () => accepted++)
        );

        Assert.Equal((RegistryFault.NotAllowed, 0), (e.Fault, accepted));
    }

    [Fact]
    public async Task A_node_that_was_accepted_waits_a_refusal_out()
    {
        var waits = new List<TimeSpan>();
        var accepted = 0;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var coordinator = new TestCoordinator
        {
            Claims = wait =>
            {
                waits.Add(wait);
                if (waits.Count == 2)
                {
                    throw Refusal();
                }

                if (waits.Count == 3)
                {
                    stop.Cancel();
                }

                return Task.FromResult<Lease?>(null);
            },
        };

        await RunAsync(coordinator, new TestLauncher(), () => accepted++, stop.Token);

        Assert.Equal((3, 1, TimeSpan.Zero), (waits.Count, accepted, waits[0]));
        Assert.All(waits.Skip(1), wait => Assert.True(wait > TimeSpan.FromSeconds(10)));
    }

    // It had the right credentials once.
    [Fact]
    public async Task A_node_with_builds_under_way_waits_a_refusal_out()
    {
        var claims = 0;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var coordinator = new TestCoordinator
        {
            Claims = _ =>
            {
                if (++claims == 2)
                {
                    stop.Cancel();
                }

                throw Refusal();
            },
        };
        var launcher = new TestLauncher { Left = [new ResumedBuild(NodeSamples.Lease, Task.Delay(-1, stop.Token))] };

        await RunAsync(coordinator, launcher, () => { }, stop.Token);

        Assert.Equal(2, claims);
    }

    [Fact]
    public async Task A_token_that_others_can_read_is_warned_of()
    {
        var directory = Directory.CreateTempSubdirectory("kiln-test-");
        try
        {
            var token = Path.Combine(directory.FullName, "token");
            await File.WriteAllTextAsync(token, "kt_1", Cancel);
            foreach (var (mode, warned) in new[] { (0b110_100_000, true), (0b110_000_000, false) })
            {
                File.SetUnixFileMode(token, (UnixFileMode)mode);
                var error = new StringWriter();
                Kiln.Cli.Verbs.TokenFile.Warn(new FileInfo(token), TestShell.Create(error: error));
                Assert.Equal(warned, error.ToString().Contains("open to other accounts", StringComparison.Ordinal));
            }
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private static RegistryException Refusal() =>
        new(RegistryFault.NotAllowed, "asking for work", "these credentials are wrong, expired or revoked");

    private static async Task RunAsync(
        TestCoordinator coordinator,
        TestLauncher launcher,
        Action accepted,
        CancellationToken? cancel = null
    )
    {
        using var node = new BuildNode(
            launcher,
            new NodeOptions
            {
                Directory = "/nonexistent",
                Name = "n",
                Concurrency = 2,
            },
            new NodeStatus(),
            TimeProvider.System,
            NullLogger<BuildNode>.Instance
        );
        await node.PrepareAsync(Cancel);
        await node.RunAsync(coordinator, accepted, cancel ?? Cancel).WaitAsync(TimeSpan.FromSeconds(20), Cancel);
    }

    private sealed class TestLauncher : ILauncher
    {
        public IReadOnlyList<ResumedBuild> Left { get; init; } = [];

        public Task<NodeAbilities> PrepareAsync(CancellationToken cancel) =>
            Task.FromResult(
                new NodeAbilities
                {
                    Engines = [],
                    Platforms = [Platform.LinuxAmd64],
                    RecipeTypes = [RecipeTypes.Dockerfile],
                    Networks = [],
                }
            );

        public IReadOnlyList<ResumedBuild> Resume(IBuildCoordinator coordinator, CancellationToken cancel) => Left;

        public Task RunAsync(Lease lease, IBuildCoordinator coordinator, CancellationToken cancel) =>
            Task.CompletedTask;

        public void Dispose() { }
    }
}
