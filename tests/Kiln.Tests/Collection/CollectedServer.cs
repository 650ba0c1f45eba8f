using System.Net;
using System.Text.Json;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Journal;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Collection;

/// <summary>A server whose clock the test moves, and which collects when it is asked to.</summary>
internal sealed class CollectedServer : IAsyncDisposable
{
    /// <summary>Longer than all graces of these servers together.</summary>
    public static readonly TimeSpan Long = TimeSpan.FromDays(40);

    private CollectedServer(TestServer server, ShiftedTime time) => (Server, Time) = (server, time);

    public TestServer Server { get; }
    public ShiftedTime Time { get; }
    public HttpClient Http => Server.Http;

    public static async Task<CollectedServer> StartAsync(
        Func<ServerOptions, ServerOptions>? change = null,
        Action<IServiceCollection>? configure = null
    )
    {
        var time = new ShiftedTime();
        var server = await TestServer.StartAsync(
            options =>
                (change ?? (same => same))(
                    options with
                    {
                        Collection = options.Collection with { Enabled = false, Pause = TimeSpan.Zero },
                    }
                ),
            services =>
            {
                services.AddSingleton<TimeProvider>(time);
                configure?.Invoke(services);
            }
        );
        return new CollectedServer(server, time);
    }

    /// <summary>Collects once and returns what was said.</summary>
    public async Task<List<CollectionItem>> CollectAsync(bool dryRun = false)
    {
        await DrainAsync(Server.Services);
        return await CollectAsync(Http, dryRun);
    }

    /// <summary>Has the journal written, so that its copies of manifests are there before they are to go.</summary>
    public static Task DrainAsync(IServiceProvider services) =>
        services.GetRequiredService<JournalWriter>().DrainAsync(TestContext.Current.CancellationToken);

    public static async Task<List<CollectionItem>> CollectAsync(HttpClient http, bool dryRun = false)
    {
        using var response = await http.SendAsync("POST", dryRun ? "/admin/v1/gc?dry-run=1" : "/admin/v1/gc");
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, body);
        var lines = body.TrimEnd('\n')
            .Split('\n')
            .Select(line => JsonSerializer.Deserialize(line, AdminJson.Default.CollectionLine)!)
            .ToList();
        Assert.Null(lines[^1].Error);
        Assert.NotNull(lines[^1].Summary);
        return [.. lines.Select(line => line.Item).OfType<CollectionItem>()];
    }

    /// <summary>Collects until nothing is left to do: whatever nothing keeps is gone then.</summary>
    public async Task CollectAllAsync()
    {
        for (var i = 0; i < 6; i++)
        {
            await CollectAsync();
            Time.Advance(Long);
        }
    }

    /// <summary>Files of blobs on the disk.</summary>
    public IEnumerable<string> Files =>
        Directory
            .EnumerateFiles(Path.Combine(Server.DataDirectory, "blobs"), "*", SearchOption.AllDirectories)
            .Select(file => Path.GetFileName(file));

    public bool HasFile(Digest digest) => Files.Contains(digest.Encoded, StringComparer.Ordinal);

    public ValueTask DisposeAsync() => Server.DisposeAsync();
}

/// <summary>A clock that the test puts forward. Timers go by the real one: months of five-second ticks take minutes.</summary>
internal sealed class ShiftedTime : TimeProvider
{
    private long _shift;

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow().AddTicks(Interlocked.Read(ref _shift));

    public void Advance(TimeSpan time) => Interlocked.Add(ref _shift, time.Ticks);
}
