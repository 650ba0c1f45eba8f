using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Node.Remote;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Metadata;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Builds;

/// <summary>
/// A real server, spoken to over HTTP, beside which a test plays the build node through
/// <see cref="IBuildCoordinator"/>.
/// </summary>
internal sealed class BuildServer : IAsyncDisposable
{
    public const string Containerfile = "FROM scratch\nCOPY hello /hello\n";
    private readonly TestServer _server;

    private readonly bool _remote;
    private HttpCoordinator? _coordinator;

    private BuildServer(TestServer server, FakeTimeProvider? time, bool remote)
    {
        _server = server;
        _remote = remote;
        Time = time;
        Node = new TestNode(() => Coordinator);
        Ready();
    }

    public static string Repository => "hpc/app";

    /// <summary>The server's clock, where the test moves it.</summary>
    public FakeTimeProvider? Time { get; }
    public TestNode Node { get; }
    public HttpClient Http => _server.Http;
    public IServiceProvider Services => _server.Services;
    public IEnumerable<IServiceProvider> AllServices => _server.AllServices;
    public string DataDirectory => _server.DataDirectory;
    public ServerOptions Options => _server.Services.GetRequiredService<ServerOptions>();
    public string Host => new Uri(_server.Url).Authority;

    /// <summary>The lease protocol: in the server, or over HTTP as a node elsewhere speaks it.</summary>
    public IBuildCoordinator Coordinator =>
        !_remote
            ? _server.Services.GetRequiredService<IBuildCoordinator>()
            : _coordinator ??= new HttpCoordinator(
                new RemoteServer { Host = Host, Spool = Path.Combine(DataDirectory, "test-spool") },
                TimeProvider.System
            );
    public LeaseSweep Sweep => _server.Services.GetRequiredService<LeaseSweep>();
    public NodeStatus Status => _server.Services.GetRequiredService<NodeStatus>();

    public static async Task<BuildServer> StartAsync(
        Func<BuildOptions, BuildOptions>? change = null,
        bool fakeTime = false,
        Func<ServerOptions, ServerOptions>? options = null,
        bool remote = false,
        TimeProvider? clock = null
    )
    {
        var time = fakeTime ? new FakeTimeProvider(new DateTimeOffset(2026, 11, 23, 8, 0, 0, TimeSpan.Zero)) : null;
        var server = await TestServer.StartAsync(
            o => (options ?? (same => same))(o) with { Build = (change ?? (b => b))(o.Build) },
            (clock ?? time) is { } other ? services => services.AddSingleton(other) : null
        );
        return new BuildServer(server, time, remote);
    }

    /// <summary>Stops the server in the middle of whatever it does, and starts it on the same data.</summary>
    /// <param name="meanwhile">Happens while there is no server.</param>
    public async Task RestartAsync(Action? meanwhile = null)
    {
        await _server.RestartAsync(meanwhile);
        _coordinator?.Dispose();
        _coordinator = null;
        Ready();
    }

    /// <summary>Asks for a build of a recipe, raw.</summary>
    public Task<HttpResponseMessage> PostAsync(
        string query,
        string recipe = Containerfile,
        string type = BuildMediaTypes.TextDockerfile
    )
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(recipe));
        content.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        return Http.PostAsync(new Uri($"{Repository}/_build/v1/jobs{query}", UriKind.Relative), content);
    }

    public async Task<Job> SubmitAsync(string query, string recipe = Containerfile)
    {
        using var response = await PostAsync(query, recipe);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return await ReadAsync(response);
    }

    public async Task<Job> GetAsync(string job)
    {
        using var response = await Http.GetAsync(JobUri(job));
        return await ReadAsync(response);
    }

    /// <summary>The repository's jobs, the newest first.</summary>
    public async Task<IReadOnlyList<Job>> JobsAsync() =>
        JsonSerializer
            .Deserialize(
                await Http.GetByteArrayAsync(new Uri($"{Repository}/_build/v1/jobs", UriKind.Relative)),
                BuildJson.Default.JobList
            )!
            .Jobs;

    public async Task<string> LogAsync(string job, string query = "") =>
        await Http.GetStringAsync(new Uri($"{Repository}/_build/v1/jobs/{job}/logs{query}", UriKind.Relative));

    public static Uri JobUri(string job) => new($"{Repository}/_build/v1/jobs/{job}", UriKind.Relative);

    public static async Task<Job> ReadAsync(HttpResponseMessage response) =>
        JsonSerializer.Deserialize(await response.Content.ReadAsByteArrayAsync(), BuildJson.Default.Job)!;

    /// <summary>Takes a table away, so that whatever needs it fails.</summary>
    public Task BreakAsync(string table) => RunAsync($"ALTER TABLE {table} RENAME TO {table}_away");

    public Task MendAsync(string table) => RunAsync($"ALTER TABLE {table}_away RENAME TO {table}");

    /// <summary>When a lease ends without a sign of life, in Unix milliseconds.</summary>
    public Task<long> LeaseExpiresAsync(Lease lease) =>
        Services
            .GetRequiredService<Database>()
            .WriteAsync(
                transaction =>
                    transaction.Scalar<long>(
                        "SELECT lease_expires FROM executions WHERE id = @id",
                        ("id", lease.Execution)
                    ),
                CancellationToken.None
            );

    /// <summary>Uploads a secret; its ref.</summary>
    public async Task<string> SecretAsync(string value)
    {
        using var body = new ByteArrayContent(Encoding.UTF8.GetBytes(value));
        using var response = await Http.PostAsync(new Uri($"{Repository}/_build/v1/secrets", UriKind.Relative), body);
        return JsonSerializer
            .Deserialize(await response.Content.ReadAsByteArrayAsync(), BuildJson.Default.SecretReceipt)!
            .Ref;
    }

    private Task RunAsync(string sql) =>
        Services.GetRequiredService<Database>().WriteAsync(transaction => transaction.Run(sql), CancellationToken.None);

    /// <summary>The index that a tag points at, or null.</summary>
    public async Task<ManifestInfo?> TagAsync(string tag)
    {
        using var response = await Http.GetAsync(new Uri($"{Repository}/manifests/{tag}", UriKind.Relative));
        return response.IsSuccessStatusCode
            ? ManifestReader.Read(await response.Content.ReadAsByteArrayAsync(), null, out _)
            : null;
    }

    public async Task<Descriptor> PushBlobAsync(byte[] content, string mediaType)
    {
        var digest = Digest.Of(content);
        using var body = new ByteArrayContent(content);
        using var response = await Http.PostAsync(
            new Uri($"{Repository}/blobs/uploads/?digest={digest}", UriKind.Relative),
            body
        );
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = content.Length,
        };
    }

    /// <summary>Pushes a recipe artifact as oras does.</summary>
    public async Task<HttpResponseMessage> PushRecipeAsync(
        string reference,
        Dictionary<string, string>? annotations = null,
        params IReadOnlyList<Descriptor> layers
    )
    {
        var manifest = new ImageManifest
        {
            ArtifactType = BuildMediaTypes.Recipe,
            Config = await PushBlobAsync("{}"u8.ToArray(), MediaTypes.OciEmpty),
            Layers = layers,
            Annotations = annotations,
        };
        using var body = JsonContent.Create(manifest, OciJson.Default.ImageManifest);
        body.Headers.ContentType = MediaTypeHeaderValue.Parse(MediaTypes.OciManifest);
        return await Http.PutAsync(new Uri($"{Repository}/manifests/{reference}", UriKind.Relative), body);
    }

    /// <summary>A recipe layer as oras makes it of a file: a type that says nothing, and a title.</summary>
    public async Task<Descriptor> RecipeLayerAsync(string text = Containerfile, string title = "Containerfile") =>
        (await PushBlobAsync(Encoding.UTF8.GetBytes(text), MediaTypes.OciLayerTar)) with
        {
            Annotations = new Dictionary<string, string> { [RecipeAnnotations.Title] = title },
        };

    public async ValueTask DisposeAsync()
    {
        _coordinator?.Dispose();
        await _server.DisposeAsync();
    }

    /// <summary>What the server's own node can do; that of each, where there are two.</summary>
    public void Offer(NodeAbilities abilities)
    {
        foreach (var services in _server.AllServices)
        {
            services.GetRequiredService<NodeStatus>().Abilities = abilities;
        }
    }

    private void Ready() =>
        Offer(
            new NodeAbilities
            {
                Engines = ["buildah 1.28.2"],
                Platforms = [Platform.LinuxAmd64, new Platform("linux", "arm64"), new Platform("linux", "amd64", "v3")],
                RecipeTypes = [RecipeTypes.Dockerfile],
                Networks = [NetworkModes.Isolated, NetworkModes.None],
                Resources = new BuildResources
                {
                    Cpus = 8,
                    MemoryBytes = 8L << 30,
                    DiskBytes = 40L << 30,
                },
            }
        );
}
