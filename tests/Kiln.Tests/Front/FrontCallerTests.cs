using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Tests.Access;
using Kiln.Tests.Builds;
using Kiln.Tests.Client;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Front;

/// <summary>Who somebody is, in front of registries that let some in who bring no credentials, and others not.</summary>
public sealed class FrontCallerTests
{
    private const string Repository = "team/app";
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("""{"sub":"alice"}""", "alice")]
    // As token servers give it to those who have not logged in.
    [InlineData("{}", "anonymous")]
    [InlineData("""{"sub":""}""", "anonymous")]
    [InlineData("""{"sub":"anonymous"}""", "anonymous")]
    [InlineData("""{"sub":"Anonymous"}""", "Anonymous")]
    public async Task A_token_that_is_for_nobody_names_nobody(string claims, string name)
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http => Task.FromResult(IsRefused(http, http.Request.Headers.Authorization.Count == 0));
        await using var front = await StartAsync(registry);
        var token = string.Join(
            '.',
            new[] { """{"alg":"RS256"}""", claims, "signature" }.Select(part =>
                System.Buffers.Text.Base64Url.EncodeToString(Encoding.UTF8.GetBytes(part))
            )
        );
        front.Http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        using var asked = await FrontServer.PostAsync(front, Repository, user: null);
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        Assert.Equal(name, (await BuildServer.ReadAsync(asked)).CreatedBy);
    }

    [Fact]
    public async Task What_one_machine_may_without_credentials_another_one_may_not()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            http.Response.StatusCode = http.Request.Headers["X-Forwarded-For"] == "127.0.0.1" ? 200 : 403;
            return Task.FromResult(true);
        };
        await using var front = await StartAsync(registry);
        foreach (var (machine, status) in new[] { (1, 200), (2, 403), (1, 200) })
        {
            using var http = new HttpClient(
                new SocketsHttpHandler
                {
                    ConnectCallback = async (context, cancel) =>
                    {
                        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
                        socket.Bind(new IPEndPoint(new IPAddress(new byte[] { 127, 0, 0, (byte)machine }), 0));
                        await socket.ConnectAsync(IPAddress.Loopback, context.DnsEndPoint.Port, cancel);
                        return new NetworkStream(socket, ownsSocket: true);
                    },
                }
            )
            {
                BaseAddress = front.Http.BaseAddress,
            };
            using var read = await http.SendAsync("GET", $"{Repository}/_build/v1/jobs");
            Assert.Equal(status, (int)read.StatusCode);
        }
    }

    [Fact]
    public async Task A_push_without_credentials_that_was_taken_is_no_right_of_everybody()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await StartAsync(registry);
        // It does not say why it takes this manifest; it would take no other upload of somebody without credentials.
        registry.Intercept = http =>
            Task.FromResult(
                HttpMethods.IsPost(http.Request.Method)
                    ? IsRefused(http, http.Request.Headers.Authorization.Count == 0)
                    : http.Request.Path.Value!.EndsWith("/tags/list", StringComparison.Ordinal)
            );
        using var named = new HttpClient { BaseAddress = front.Http.BaseAddress };
        named.DefaultRequestHeaders.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic("all"));
        var text = Encoding.UTF8.GetBytes(BuildServer.Containerfile);
        await named.PushBlobAsync(Repository, text);
        await named.PushBlobAsync(Repository, Samples.EmptyJson);
        var recipe = Samples.Image(Samples.Descriptor(text, BuildMediaTypes.Dockerfile));
        recipe["artifactType"] = BuildMediaTypes.Recipe;
        using var pushed = await front.Http.PutManifestAsync(Repository, "1.0.recipe", recipe.Encode());
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Contains("no build was started", pushed.Header("Warning"));
        // Nor is anybody with a name taken for nobody.
        using var asked = await FrontServer.PostAsync(front, Repository, "all");
        Assert.StartsWith("all~", (await BuildServer.ReadAsync(asked)).CreatedBy, StringComparison.Ordinal);
    }

    // Nobody is this server's own user, as they would be over loopback.
    private static Task<BuildServer> StartAsync(TestRegistry registry) =>
        FrontServer.StartGuardedAsync(
            $"http://{registry.Host}",
            build: b => b with { AllowHostNetwork = true },
            access: a => a with { InsecureAnonymous = true }
        );

    private static bool IsRefused(HttpContext http, bool refused)
    {
        if (refused)
        {
            http.Response.StatusCode = 401;
            http.Response.Headers.WWWAuthenticate = "Basic realm=x";
        }

        return refused;
    }
}
