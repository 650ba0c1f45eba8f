using Kiln.Client;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Client;

/// <summary>Whoever says nothing is given up, wherever in a conversation that is, and named as what cannot be reached.</summary>
public sealed class SilenceTests
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(300);
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_host_that_drops_packets_cannot_be_reached()
    {
        using var deaf = await DeafHost.StartAsync();
        await using var registry = await TestRegistry.StartAsync();
        using var client = registry.Client(o => o with { ConnectTimeout = Short, Attempts = 2 });

        var e = await FailAsync(() => client.PingAsync(deaf.Host, Cancel));

        Assert.Equal((RegistryFault.Unreachable, deaf.Host), (e.Fault, e.Host));
        Assert.Contains("no connection within 0.3 s", e.Why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_token_server_that_says_nothing_cannot_be_reached(bool headers)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = async http =>
        {
            if (http.Request.Path != "/token")
            {
                Challenge(http, $"http://{registry.Host}/token");
                return true;
            }

            await StallAsync(http, headers);
            return true;
        };
        using var client = registry.Client(o => o with { IdleTimeout = Short, Attempts = 1 });

        var e = await FailAsync(() => client.PingAsync(registry.Host, Cancel));

        Assert.Equal((RegistryFault.Unreachable, registry.Host), (e.Fault, e.Host));
    }

    [Fact]
    public async Task A_token_server_that_drops_packets_cannot_be_reached()
    {
        using var deaf = await DeafHost.StartAsync();
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            Challenge(http, $"http://{deaf.Host}/token");
            return Task.FromResult(true);
        };
        using var client = registry.Client(o => o with { ConnectTimeout = Short, Attempts = 1 });

        var e = await FailAsync(() => client.PingAsync(registry.Host, Cancel));

        Assert.Equal(RegistryFault.Unreachable, e.Fault);
    }

    [Fact]
    public async Task A_token_server_that_sends_without_end_is_broken()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = async http =>
        {
            if (http.Request.Path != "/token")
            {
                Challenge(http, $"http://{registry.Host}/token");
                return true;
            }

            await http.Response.Body.WriteAsync(new byte[2 << 20], http.RequestAborted);
            return true;
        };
        using var client = registry.Client();

        var e = await FailAsync(() => client.PingAsync(registry.Host, Cancel));

        Assert.Equal(RegistryFault.Broken, e.Fault);
    }

    [Fact]
    public async Task An_error_whose_text_does_not_come_is_known_by_its_status()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = async http =>
        {
            http.Response.StatusCode = 403;
            await StallAsync(http, headers: true);
            return true;
        };
        using var client = registry.Client(o => o with { IdleTimeout = Short });

        var e = await FailAsync(() => client.PingAsync(registry.Host, Cancel));

        Assert.Equal((RegistryFault.NotAllowed, 403), (e.Fault, e.Status));
    }

    private static void Challenge(HttpContext http, string realm)
    {
        http.Response.StatusCode = 401;
        http.Response.Headers.WWWAuthenticate = $"Bearer realm=\"{realm}\"";
    }

    private static async Task StallAsync(HttpContext http, bool headers)
    {
        if (headers)
        {
            await http.Response.WriteAsync("{", http.RequestAborted);
            await http.Response.Body.FlushAsync(http.RequestAborted);
        }

        await Task.Delay(TimeSpan.FromSeconds(30), http.RequestAborted);
    }

    // What is not given up within some seconds never is.
    private static Task<RegistryException> FailAsync(Func<Task> act) =>
        Assert.ThrowsAsync<RegistryException>(() => act().WaitAsync(TimeSpan.FromSeconds(10), Cancel));
}
