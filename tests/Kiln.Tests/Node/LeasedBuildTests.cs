using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Node;
using Kiln.Node.Engines;
using Kiln.Node.Fetching;
using Kiln.Node.Sandbox;
using Kiln.Oci;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node;

/// <summary>What a build says before it builds.</summary>
public sealed class LeasedBuildTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kiln-test-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData(true, false, "[on build03]\n")]
    [InlineData(true, true, "")]
    [InlineData(false, false, "")]
    public async Task A_log_begins_with_the_name_of_the_node_where_the_registry_knows_a_credential_only(
        bool remote,
        bool ofJob,
        string said
    )
    {
        var lease = NodeSamples.Lease with
        {
            Auth = remote
                ? new LeaseAuth
                {
                    Token = "t",
                    Username = "u",
                    Password = "t",
                    Expires = DateTimeOffset.MaxValue,
                }
                : null,
        };
        var options = new NodeOptions
        {
            Directory = _root,
            Name = "build03",
            LeavesLease = ofJob,
        };
        var directory = new NodeDirectory(_root);
        var coordinator = new TestCoordinator();
        using var client = new RegistryClient(new RegistryClientOptions());
        var shelf = new BaseShelf(directory.Bases, 1, 1, (_, _) => Task.CompletedTask);
        using var build = new LeasedBuild(
            lease,
            coordinator,
            new NoEngine(),
            new BaseFetcher(client, shelf, 1),
            directory,
            options,
            TimeProvider.System,
            NullLogger.Instance
        )
        {
            Limits = new BuildLimits(1, 1, 1, 1),
        };

        await build.RunAsync(TestContext.Current.CancellationToken);

        Assert.Equal(said, coordinator.Log.ToString());
        Assert.Contains("no longer in the repository", coordinator.Result!.Message, StringComparison.Ordinal);
    }

    private sealed class NoEngine : IEngine
    {
        public string Name => "none";

        public EngineAbilities Abilities => throw new NotSupportedException();

        public IReadOnlyList<BaseReference> BasesOf(LeaseTask task, string recipe) => [];

        public Task<EngineResult> BuildAsync(EngineTask task, IBuildListener listener, CancellationToken cancel) =>
            throw new NotSupportedException();

        public Task KeepStepsAsync(
            EngineTask task,
            IReadOnlyDictionary<string, PublishedLayer> layers,
            CancellationToken cancel
        ) => Task.CompletedTask;

        public Task CleanUpAsync(string directory, CancellationToken cancel) => Task.CompletedTask;
    }
}
