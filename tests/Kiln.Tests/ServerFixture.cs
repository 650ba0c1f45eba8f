using Kiln.Server;
using Kiln.TestPrograms;
using Kiln.Tests;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

[assembly: AssemblyFixture(typeof(ServerFixture))]

namespace Kiln.Tests;

/// <summary>
/// One server for all tests that need nothing special: real Kestrel on a free port of 127.0.0.1, a data directory of its
/// own, no build node. Tests take a repository name of their own (<see cref="Samples.Repository"/>).
/// </summary>
public sealed class ServerFixture : IAsyncLifetime
{
    private TestServer? _server;

    public TestServer Server => _server!;

    public HttpClient Http => Server.Http;

    public async ValueTask InitializeAsync() => _server = await TestServer.StartAsync();

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();
}

/// <summary>
/// A server with its own data directory, which is deleted with it; or two of them behind a proxy, if the run is about that.
/// </summary>
public sealed class TestServer : IAsyncDisposable
{
    private readonly Func<ServerOptions, ServerOptions> _change;
    private readonly Action<IServiceCollection>? _services;
    private ServerOptions _options;
    private readonly List<WebApplication> _apps = [];
    private RoundRobin? _proxy;

    private TestServer(Func<ServerOptions, ServerOptions>? change, Action<IServiceCollection>? services)
    {
        _change = change ?? (options => options);
        _services = services;
        _options = TestState.Fresh(
            new ServerOptions
            {
                DataDirectory = DataDirectory,
                Urls = "http://127.0.0.1:0",
                // Tests look for tags that are not there yet, and do not wait for them.
                Build = new BuildOptions { LocalNode = false, PullHoldSeconds = 0 },
            }
        );
    }

    public string DataDirectory { get; } = Directory.CreateTempSubdirectory("kiln-test-").FullName;

    /// <summary>The server's address, for example <c>http://127.0.0.1:41234</c>.</summary>
    public string Url => _proxy?.Url ?? _apps[0].Urls.First();

    /// <summary>The address of one server itself, past the proxy: for what proxies have limits and manners of their own.</summary>
    public string OwnUrl => _apps[0].Urls.First();

    /// <summary>The second address, where the options name one; of the first server where there are two.</summary>
    public string ManagementUrl => _apps[0].Urls.Last();

    /// <summary>A client whose base address is the server's <c>/v2/</c>.</summary>
    public HttpClient Http { get; private set; } = null!;

    /// <summary>The insides of the server; of the first where there are two.</summary>
    public IServiceProvider Services => _apps[0].Services;

    /// <summary>The insides of all.</summary>
    public IEnumerable<IServiceProvider> AllServices => _apps.Select(app => app.Services);

    /// <summary>Starts a server; dispose it.</summary>
    /// <param name="change">Changes the options.</param>
    /// <param name="services">Replaces services, for example time.</param>
    public static async Task<TestServer> StartAsync(
        Func<ServerOptions, ServerOptions>? change = null,
        Action<IServiceCollection>? services = null
    )
    {
        var server = new TestServer(change, services);
        await server.RunAsync();
        return server;
    }

    /// <summary>Stops the server and starts another on the same data directory and a new port.</summary>
    /// <param name="meanwhile">Happens while there is no server.</param>
    public async Task RestartAsync(Action? meanwhile = null)
    {
        await StopAsync();
        meanwhile?.Invoke();
        await RunAsync();
    }

    /// <summary>As <see cref="RestartAsync(Action)"/>; what is to happen meanwhile is told what the server was told.</summary>
    /// <param name="meanwhile">Happens while there is no server; gives the options of the next one.</param>
    public async Task RestartAsync(Func<ServerOptions, Task<ServerOptions>> meanwhile)
    {
        await StopAsync();
        _options = await meanwhile(_options);
        await RunAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!Directory.Exists(DataDirectory))
        {
            return;
        }

        await StopAsync();
        for (var i = 0; i < Servers; i++)
        {
            Directory.Delete(Of(i), recursive: true);
        }
    }

    // A test that moves the clock has one server: two would take each other for dead when it jumps.
    private int Servers => _services is null ? TestState.Servers : 1;

    private string Of(int server) => server == 0 ? DataDirectory : $"{DataDirectory}-{server}";

    private async Task RunAsync()
    {
        for (var i = 0; i < Servers; i++)
        {
            var app = KilnServer.Create(_change(_options) with { DataDirectory = Of(i) }, _services);
            await app.StartAsync();
            _apps.Add(app);
        }

        if (_apps.Count > 1)
        {
            _proxy = RoundRobin.Start([.. _apps.Select(app => new Uri(app.Urls.First()).Authority)]);
        }

        Http = new HttpClient { BaseAddress = new Uri(Url + "/v2/"), Timeout = TimeSpan.FromMinutes(2) };
    }

    private async Task StopAsync()
    {
        Http.Dispose();
        _proxy?.Dispose();
        _proxy = null;
        foreach (var app in _apps)
        {
            await app.StopAsync();
            await app.DisposeAsync();
        }

        _apps.Clear();
    }
}
