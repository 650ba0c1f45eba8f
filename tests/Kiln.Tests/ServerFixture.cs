using Kiln.Server;
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

/// <summary>A server with its own data directory, which is deleted with it.</summary>
public sealed class TestServer : IAsyncDisposable
{
    private readonly Func<ServerOptions, ServerOptions> _change;
    private readonly Action<IServiceCollection>? _services;
    private readonly ServerOptions _options;
    private WebApplication? _app;

    private TestServer(Func<ServerOptions, ServerOptions>? change, Action<IServiceCollection>? services)
    {
        _change = change ?? (options => options);
        _services = services;
        _options = TestState.Fresh(
            new ServerOptions
            {
                DataDirectory = DataDirectory,
                Urls = "http://127.0.0.1:0",
                Build = new BuildOptions { LocalNode = false },
            }
        );
    }

    public string DataDirectory { get; } = Directory.CreateTempSubdirectory("kiln-test-").FullName;

    /// <summary>The server's address, for example <c>http://127.0.0.1:41234</c>.</summary>
    public string Url => _app!.Urls.Single();

    /// <summary>A client whose base address is the server's <c>/v2/</c>.</summary>
    public HttpClient Http { get; private set; } = null!;

    public IServiceProvider Services => _app!.Services;

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

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        Directory.Delete(DataDirectory, recursive: true);
    }

    private async Task RunAsync()
    {
        _app = KilnServer.Create(_change(_options), _services);
        await _app.StartAsync();
        Http = new HttpClient { BaseAddress = new Uri(Url + "/v2/"), Timeout = TimeSpan.FromSeconds(30) };
    }

    private async Task StopAsync()
    {
        Http.Dispose();
        await _app!.StopAsync();
        await _app.DisposeAsync();
    }
}
