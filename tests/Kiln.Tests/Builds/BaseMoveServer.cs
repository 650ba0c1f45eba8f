using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>A server that builds images anew when their bases move, with a node that says what it has built on.</summary>
internal sealed class BaseMoveServer : IAsyncDisposable
{
    /// <summary>By which recipes name the server.</summary>
    public const string Host = "registry.example.org";

    private int _count;

    private BaseMoveServer(BuildServer builds) => Builds = builds;

    /// <summary>A tag that something stands on.</summary>
    public sealed record Base(string Repository, string Tag)
    {
        public string Name => $"{Host}/{Repository}:{Tag}";
    }

    public BuildServer Builds { get; }

    public static async Task<BaseMoveServer> StartAsync(
        Func<BuildOptions, BuildOptions>? change = null,
        bool fakeTime = false,
        Func<ServerOptions, ServerOptions>? options = null
    ) =>
        new(
            await BuildServer.StartAsync(
                b => (change ?? (same => same))(b with { Rebuild = RebuildTriggers.OnBaseChange }),
                fakeTime,
                o => (options ?? (same => same))(o with { Access = o.Access with { PublicUrl = $"https://{Host}" } })
            )
        );

    public static string Recipe(Base on) => $"FROM {on.Name}\nCOPY hello /hello\n";

    /// <summary>Moves the tag of a base to a new image.</summary>
    public async Task<Digest> PushBaseAsync(Base on) => (await PushImageAsync(on.Repository, on.Tag)).Digest;

    public async Task<(JsonObject Descriptor, Digest Digest)> PushImageAsync(string repository, string? tag = null)
    {
        var descriptor = await Builds.Http.PushAsync(repository, Samples.Image(), tag);
        return (descriptor, Digest.Parse((string)descriptor["digest"]!));
    }

    public async Task PushIndexAsync(Base on, params JsonObject[] images) =>
        await Builds.Http.PushAsync(on.Repository, Samples.Index(images.Select(i => i.DeepClone())), on.Tag);

    /// <summary>Asks for a build and has it succeed.</summary>
    public Task<Job> BuildAsync(string query, string recipe, (Base Base, Digest Digest) on) =>
        BuildAsync(query, recipe, "docker://" + on.Base.Name, on.Digest);

    /// <inheritdoc cref="BuildAsync(string, string, ValueTuple{Base, Digest})"/>
    public async Task<Job> BuildAsync(string query, string recipe, string uri, Digest digest)
    {
        var job = await Builds.SubmitAsync(query, recipe);
        await SucceedAsync(await ClaimAsync(), uri, digest);
        job = await Builds.GetAsync(job.Id);
        Assert.Equal(BuildStates.Succeeded, job.State);
        return job;
    }

    public async Task<Lease> ClaimAsync()
    {
        var lease = await Builds.Node.TryClaimAsync(wait: TimeSpan.Zero);
        Assert.NotNull(lease);
        return lease;
    }

    public Task SucceedAsync(Lease lease, (Base Base, Digest Digest) on) =>
        SucceedAsync(lease, "docker://" + on.Base.Name, on.Digest);

    private async Task SucceedAsync(Lease lease, string uri, Digest digest) =>
        await Builds.Node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = await Builds.Node.PushImageAsync(lease, $"build {++_count}", lease.Task.Platform),
                ResolvedDependencies = [new ResolvedDependency { Uri = uri, Digest = digest }],
            }
        );

    /// <summary>The jobs that moved bases have started, the newest first; those of one tag, where it is given.</summary>
    public async Task<IReadOnlyList<Job>> RebuildsAsync(string? tag = null) =>
        [
            .. (await Builds.JobsAsync()).Where(j =>
                j.Trigger == JobTriggers.Base && (tag is null || j.Tags.Contains(tag, StringComparer.Ordinal))
            ),
        ];

    /// <summary>Waits until so many jobs were started by moved bases; the newest.</summary>
    /// <param name="advance">Moves the clock so far now and then.</param>
    public async Task<Job> StartedAsync(int count, string? tag = null, TimeSpan? advance = null)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        for (var round = 0; ; round++)
        {
            var jobs = await RebuildsAsync(tag);
            if (jobs.Count >= count)
            {
                Assert.Equal(count, jobs.Count);
                return jobs[0];
            }

            if (advance is { } step && round % 20 == 0)
            {
                Builds.Time!.Advance(step);
            }

            await Task.Delay(50, patience.Token);
        }
    }

    /// <summary>Waits until all that has moved was looked at.</summary>
    public async Task LookedAtAsync()
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        while (
            await Builds
                .Services.GetRequiredService<Database>()
                .WriteAsync(t => t.Scalar<long>("SELECT COUNT(*) FROM base_moves"), patience.Token) > 0
        )
        {
            await Task.Delay(20, patience.Token);
        }
    }

    /// <summary>Waits until moves were looked at that then had to wait.</summary>
    public async Task PutOffAsync()
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        var now = Builds.Time!.GetUtcNow().ToUnixTimeMilliseconds();
        var database = Builds.Services.GetRequiredService<Database>();
        while (database.Read(c => c.Scalar<long>("SELECT MAX(due) FROM base_moves")) <= now)
        {
            await Task.Delay(20, patience.Token);
        }
    }

    /// <summary>The lease of the next job that a moved base starts; null where none is left.</summary>
    /// <param name="count">Jobs that there are by then.</param>
    public async Task<Lease?> NextAsync(int count)
    {
        await LookedAtAsync();
        return (await RebuildsAsync()).Count < count ? null : await ClaimAsync();
    }

    public async Task<Digest> DigestAsync(string repository, string tag)
    {
        using var response = await Builds.Http.SendAsync("HEAD", $"{repository}/manifests/{tag}");
        Assert.True(response.IsSuccessStatusCode, $"{response.StatusCode}");
        return Digest.Parse(response.Header("Docker-Content-Digest")!);
    }

    public ValueTask DisposeAsync() => Builds.DisposeAsync();
}
