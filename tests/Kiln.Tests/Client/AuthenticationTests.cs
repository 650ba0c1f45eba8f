using System.Text;
using Kiln.Client;
using Kiln.Client.Credentials;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Client;

public sealed class AuthenticationTests
{
    private const string BasicMe = "Basic bWU6c2VjcmV0";

    private sealed class Me : ICredentialSource
    {
        public Login? Find(string host, RepositoryName? repository) => new("me", "secret");
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Basic_is_answered_with_the_login_and_remembered()
    {
        await using var registry = await TestRegistry.StartAsync();
        var blob = registry.AddBlob(TestRegistry.Random(10));
        registry.Intercept = http => Task.FromResult(Refuse(http, BasicMe, "Basic realm=x"));
        using var client = registry.Client(o => o with { Credentials = new Me() });

        Assert.NotNull(await client.FindBlobAsync(registry.Repository("a"), blob.Digest, Cancel));
        Assert.NotNull(await client.FindBlobAsync(registry.Repository("a"), blob.Digest, Cancel));

        // One refusal, then two with the login.
        Assert.Equal(3, registry.Requests.Count);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_bearer_token_is_fetched_for_the_scope_and_reused(bool login)
    {
        await using var registry = await TestRegistry.StartAsync();
        var blob = registry.AddBlob(TestRegistry.Random(10));
        string? tokenAuth = null;
        registry.Intercept = async http =>
        {
            if (http.Request.Path != "/token")
            {
                return Refuse(http, "Bearer t1", $"Bearer realm=\"http://{registry.Host}/token\",service=\"s\"");
            }

            tokenAuth = http.Request.Headers.Authorization;
            await http.Response.WriteAsync("""{"token":"t1","expires_in":300}""");
            return true;
        };
        using var client = registry.Client(o => login ? o with { Credentials = new Me() } : o);

        await client.FindBlobAsync(registry.Repository("a/b"), blob.Digest, Cancel);
        await client.FindBlobAsync(registry.Repository("a/b"), blob.Digest, Cancel);

        Assert.Equal(login ? BasicMe : "", tokenAuth ?? "");
        Assert.Single(registry.Requests, "GET /token?service=s&scope=repository%3Aa%2Fb%3Apull");
        Assert.Equal(4, registry.Requests.Count);
    }

    [Fact]
    public async Task Wrong_credentials_are_not_allowed_and_are_not_tried_again()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http => Task.FromResult(Refuse(http, "Basic other", "Basic realm=x"));
        using var client = registry.Client(o => o with { Credentials = new Me() });

        var e = await Assert.ThrowsAsync<RegistryException>(() => client.PingAsync(registry.Host, Cancel));

        Assert.Equal((RegistryFault.NotAllowed, 401), (e.Fault, e.Status));
        Assert.Equal(2, registry.Requests.Count);
    }

    [Fact]
    public async Task Credentials_do_not_follow_a_redirect_to_another_host()
    {
        await using var store = await TestRegistry.StartAsync();
        await using var registry = await TestRegistry.StartAsync();
        var bytes = TestRegistry.Random(10);
        var blob = store.AddBlob(bytes);
        string? seen = null;
        store.Intercept = http =>
        {
            seen = http.Request.Headers.Authorization;
            return Task.FromResult(false);
        };
        registry.Intercept = http =>
        {
            if (!Refuse(http, BasicMe, "Basic realm=x"))
            {
                http.Response.StatusCode = 307;
                http.Response.Headers.Location = $"http://{store.Host}{http.Request.Path}";
            }

            return Task.FromResult(true);
        };
        using var client = registry.Client(o => o with { Credentials = new Me() });

        await using var body = await client.OpenBlobAsync(registry.Repository("a"), blob.Digest, Cancel);
        using var got = new MemoryStream();
        await body.CopyToAsync(got, Cancel);

        Assert.Equal(bytes, got.ToArray());
        Assert.Equal("", seen ?? "");
        Assert.Single(store.Requests);
    }

    [Theory]
    [InlineData("http://login.example/token")]
    [InlineData("file:///etc/passwd")]
    [InlineData("nonsense")]
    public async Task A_login_place_without_tls_gets_no_password(string realm)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http => Task.FromResult(Refuse(http, "never", $"Bearer realm=\"{realm}\""));
        using var client = registry.Client(o => o with { Credentials = new Me() });

        var e = await Assert.ThrowsAsync<RegistryException>(() => client.PingAsync(registry.Host, Cancel));

        Assert.Contains("no credentials were sent", e.Message);
    }

    private static bool Refuse(HttpContext http, string wanted, string challenge)
    {
        if (http.Request.Headers.Authorization == wanted)
        {
            return false;
        }

        http.Response.StatusCode = 401;
        http.Response.Headers.WWWAuthenticate = challenge;
        return true;
    }
}
