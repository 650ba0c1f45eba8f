using System.Net;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Node.Notifications;
using Kiln.Oci;

namespace Kiln.Tests.Node.Notifications;

/// <summary>What registries send, who may send it, and what comes of it at once.</summary>
public sealed class NotificationTests
{
    private const string Secret = "a-secret-of-some-length";
    private const string Repository = WatchedRegistryServer.Repository;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Kinds =>
        [
            "distribution",
            "distribution-alias",
            "harbor",
            "harbor-digest",
            "harbor-cloudevent",
            "quay",
            "quay-old",
            "hub",
        ];

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Every_kind_of_notification_leads_to_the_image(string kind)
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var digest = server.PushRecipe(annotations: new() { [RecipeAnnotations.Tags] = "1.0" });

        var (code, text) = await server.NotifyAsync(Payload(kind, server.Registry.Host, digest));
        Assert.Equal(HttpStatusCode.Accepted, code);
        Assert.StartsWith("1 accepted, 0 ignored", text, StringComparison.Ordinal);
        var lease = await server.ClaimAsync();
        await server.Node.SucceedAsync(lease);
        var builds = await server.SettledAsync();

        Assert.Equal(BuildStates.Succeeded, builds.Single()!["state"]!.GetValue<string>());
        Assert.Equal($"{server.Registry.Host}/{Repository}", lease.Repository);
        var index = ManifestReader.Read(server.Registry.Manifests["1.0"].Bytes, null, out _)!;
        Assert.Equal("linux/amd64", index.Manifests.Single().Platform!.ToString());
        Assert.Equal(
            Digest.Of(server.Registry.Manifests["1.0"].Bytes).ToString(),
            builds.Single()!["result"]!.GetValue<string>()
        );
    }

    [Theory]
    [InlineData("[1]", "no notification")]
    [InlineData("{}", "no notification")]
    [InlineData("""{"kind":"unknown","data":{}}""", "no notification")]
    [InlineData("not json", "not JSON")]
    [InlineData("""{"events":[],"events":[]}""", "twice")]
    [InlineData("""{"a":"\ud800"}""", "no notification")]
    [InlineData("""{"docker_url":"\ud800"}""", "not valid Unicode")]
    [InlineData(
        """{"events":[{"action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","repository":"UPPER","digest":"x"}}]}""",
        "'events.target.repository' is no repository"
    )]
    [InlineData(
        """{"events":[{"action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","repository":"a","digest":"x"}}]}""",
        "'events.target.digest' is no digest"
    )]
    [InlineData(
        """{"type":"PUSH_ARTIFACT","event_data":{"repository":{"repo_full_name":"a/b"}}}""",
        "no list 'resources'"
    )]
    [InlineData("""{"docker_url":"quay.io/a/b","repository":"a/b","updated_tags":7}""", "neither a list nor an object")]
    [InlineData("""{"docker_url":"quay.io/a/b","repository":"a/b","updated_tags":[7]}""", "something that is no tag")]
    [InlineData("""{"push_data":{"tag":"../x"},"repository":{"repo_name":"a/b"}}""", "'push_data.tag' is no tag")]
    public async Task What_is_no_notification_is_refused_with_a_sentence(string body, string why)
    {
        await using var server = await WatchedRegistryServer.StartAsync();

        var (code, text) = await server.NotifyAsync(body);

        Assert.Equal(HttpStatusCode.BadRequest, code);
        Assert.Contains(why, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_no_push_or_not_meant_is_heard_and_comes_to_nothing()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var digest = server.PushRecipe();
        var host = server.Registry.Host;

        foreach (
            var (body, told) in new[]
            {
                ("""{"events":[]}""", "0 accepted, 0 ignored"),
                (
                    Payloads
                        .Harbor(host, Repository, "1.0.recipe", digest)
                        .Replace("PUSH_", "PULL_", StringComparison.Ordinal),
                    "0 accepted, 0 ignored"
                ),
                (
                    Payloads
                        .HarborCloudEvent(host, Repository, "1", digest, "x")
                        .Replace("pushed", "deleted", StringComparison.Ordinal),
                    "0 accepted, 0 ignored"
                ),
                (
                    Payloads.Distribution(host, Repository, $"sha256-{digest.Encoded}", digest, "x"),
                    "lists what is attached"
                ),
                ("""{"docker_url":"quay.io/a/b","repository":"a/b","build_id":"x"}""", "0 accepted, 0 ignored"),
                (
                    Payloads.Distribution("elsewhere.example:5000", Repository, "1.0.recipe", digest, "x"),
                    "add it to the aliases of site"
                ),
                (Payloads.Quay("quay.io", Repository, "1.0.recipe"), "quay.io is not"),
                (Payloads.Distribution(host, "other/app", "1.0.recipe", digest, "x"), "other/app is not watched"),
            }
        )
        {
            var (code, text) = await server.NotifyAsync(body);
            Assert.Equal(HttpStatusCode.Accepted, code);
            Assert.StartsWith("0 accepted", text, StringComparison.Ordinal);
            Assert.Contains(told, text, StringComparison.Ordinal);
        }

        Assert.Empty(await server.SettledAsync());
        Assert.Empty(server.Registry.Requests);
    }

    [Fact]
    public async Task Who_has_not_the_secret_is_sent_away()
    {
        var file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, $"{Secret}\nthe-secret-before-this\n", Cancel);
        await using var server = await WatchedRegistryServer.StartAsync(r => r with { SecretFile = file });
        const string path = "/notifications/site";
        string Basic(string password) => "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"any:{password}"));

        foreach (
            var (where, header, code) in new (string, string?, HttpStatusCode)[]
            {
                (path, null, HttpStatusCode.Unauthorized),
                (path, "wrong-secret-of-length", HttpStatusCode.Unauthorized),
                (path, "Bearer wrong-secret-of-length", HttpStatusCode.Unauthorized),
                (path, Basic("wrong-secret-of-length"), HttpStatusCode.Unauthorized),
                (path, "Basic !!!", HttpStatusCode.Unauthorized),
                ($"{path}/wrong-secret-of-length", null, HttpStatusCode.Unauthorized),
                ("/status", null, HttpStatusCode.NotFound),
                (path, Secret, HttpStatusCode.Accepted),
                (path, $"Bearer {Secret}", HttpStatusCode.Accepted),
                (path, Basic("the-secret-before-this"), HttpStatusCode.Accepted),
                ($"{path}/{Secret}", null, HttpStatusCode.Accepted),
            }
        )
        {
            var answer = await server.NotifyAsync("""{"events":[]}""", where, header);
            Assert.True(code == answer.Code, $"{where} {header}: {answer}");
        }

        using var status = await server.GetAsync("/status");
        Assert.Equal(HttpStatusCode.Unauthorized, status.StatusCode);
        using var known = await server.GetAsync($"/status/{Secret}");
        Assert.Equal(HttpStatusCode.OK, known.StatusCode);
        File.Delete(file);
    }

    [Fact]
    public async Task Other_requests_and_bodies_that_are_too_large_get_an_answer()
    {
        await using var server = await WatchedRegistryServer.StartAsync(options: o => o with { MaxBodyBytes = 4096 });

        Assert.Equal(HttpStatusCode.NotFound, (await server.NotifyAsync("{}", "/notifications/other")).Code);
        Assert.Equal(HttpStatusCode.NotFound, (await server.NotifyAsync("{}", "/")).Code);
        Assert.Equal(
            HttpStatusCode.RequestEntityTooLarge,
            (await server.NotifyAsync($$"""{"events":["{{new string('x', 5000)}}"]}""")).Code
        );
        using var get = await server.GetAsync("/notifications/site");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, get.StatusCode);
        using var health = await server.GetAsync("/healthz");
        Assert.Equal(HttpStatusCode.OK, health.StatusCode);
    }

    [Fact]
    public async Task What_does_not_fit_is_to_be_sent_again()
    {
        await using var server = await WatchedRegistryServer.StartAsync(options: o =>
            o with
            {
                MaxWaiting = 2,
                MaxWaitingInRepository = 1,
            }
        );
        server.Registry.Intercept = http =>
        {
            http.Response.StatusCode = 503;
            return Task.FromResult(true);
        };
        var digest = Digest.Of("x"u8);
        Task<(HttpStatusCode Code, string Text)> TellAsync(string repository, string tag) =>
            server.NotifyAsync(Payloads.Distribution(server.Registry.Host, repository, tag, digest, "x"));

        Assert.StartsWith("1 accepted", (await TellAsync("hpc/a", "1")).Text, StringComparison.Ordinal);
        Assert.StartsWith("1 accepted", (await TellAsync("hpc/a", "1")).Text, StringComparison.Ordinal);
        Assert.Contains(
            "too many notifications of hpc/a",
            (await TellAsync("hpc/a", "2")).Text,
            StringComparison.Ordinal
        );
        Assert.StartsWith("1 accepted", (await TellAsync("hpc/b", "1")).Text, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await TellAsync("hpc/c", "1")).Code);
    }

    private static string Payload(string kind, string host, Digest digest) =>
        kind switch
        {
            "distribution" => Payloads.Distribution(host, Repository, "1.0.recipe", digest, "1"),
            "distribution-alias" => Payloads.Distribution("registry.example.org", Repository, null, digest, "1"),
            "harbor" => Payloads.Harbor(host, Repository, "1.0.recipe", digest),
            "harbor-digest" => Payloads.Harbor(host, Repository, null, digest),
            "harbor-cloudevent" => Payloads.HarborCloudEvent(host, Repository, "1.0.recipe", digest, "1"),
            "quay" => Payloads.Quay(host, Repository, "1.0.recipe"),
            "quay-old" => Payloads.OldQuay(host, Repository, "1.0.recipe"),
            _ => Payloads.Hub(Repository, "1.0.recipe"),
        };
}
