using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Registry;
using Kiln.Tests.Access;
using Kiln.Tests.Client;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>Upstreams that want a login, refuse, redirect and lie; and who may pull through.</summary>
public sealed class RefusalTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("kiln-through-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private string SecretFile(string content)
    {
        var path = Path.Combine(_directory, $"{Guid.NewGuid():n}");
        File.WriteAllText(path, content + "\n");
        return path;
    }

    [Fact]
    public async Task The_login_of_an_upstream_is_read_from_its_file_and_wrong_ones_are_told_apart()
    {
        using var registry = ThroughServer.RequireRegistry(AccessServer.Htpasswd("kiln"));
        using var there = ThroughServer.ClientOf(registry.Host);
        there.DefaultRequestHeaders.TryAddWithoutValidation("Authorization", AccessServer.Basic("kiln"));
        await there.PushAsync("library/app", Samples.Image(), "1");
        var password = SecretFile("wrong");
        await using var server = await ThroughServer.StartAsync(
            $"http://{registry.Host}",
            o => o with { User = "kiln", PasswordFile = password }
        );

        using (var refused = await server.Http.GetAsync("hub/library/app/manifests/1"))
        {
            await refused.ShouldFailAsync(403, "DENIED");
            Assert.DoesNotContain("wrong", await refused.Content.ReadAsStringAsync());
            Assert.Null(refused.Header("WWW-Authenticate"));
        }

        File.Delete(password);
        server.Time.Advance(TimeSpan.FromMinutes(1));
        using (var refused = await server.Http.GetAsync("hub/library/app/manifests/1"))
        {
            await refused.ShouldFailAsync(403, "DENIED");
            Assert.DoesNotContain(_directory, await refused.Content.ReadAsStringAsync());
        }

        await File.WriteAllTextAsync(password, AccessServer.PasswordOf("kiln") + "\n");
        server.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/library/app/manifests/1"));
        Assert.Equal(
            HttpStatusCode.OK,
            await server.Http.StatusAsync("GET", $"hub/library/app/blobs/{Digest.EmptyJson}")
        );
    }

    [Fact]
    public async Task An_upstream_that_gives_tokens_gives_one_for_each_repository()
    {
        await using var upstream = await AccessServer.StartAsync();
        upstream.Http.DefaultRequestHeaders.TryAddWithoutValidation("Authorization", AccessServer.Basic("all"));
        var subject = await upstream.Http.PushAsync("team/app", Samples.Image(), "1");
        var referrer = await upstream.Http.PushAsync("team/app", Samples.Referrer(subject, "x/y"));
        await using var server = await ThroughServer.StartAsync(
            upstream.Server.Url,
            o => o with { User = "pull", PasswordFile = SecretFile(AccessServer.PasswordOf("pull")) }
        );

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/team/app/manifests/1"));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"hub/team/app/blobs/{Digest.EmptyJson}"));
        var referrers = await server.Http.GetJsonAsync($"hub/team/app/referrers/{subject["digest"]}");
        Assert.Equal((string)referrer["digest"]!, (string)referrers["manifests"]![0]!["digest"]!);
        using var other = await server.Http.GetAsync("hub/other/app/manifests/1");
        await other.ShouldFailAsync(403, "DENIED");
    }

    [Fact]
    public async Task A_token_file_is_sent_as_it_is()
    {
        await using var upstream = await TestRegistry.StartAsync();
        upstream.AddManifest("1", MediaTypes.OciManifest, Samples.Image().Encode());
        upstream.Intercept = async http =>
        {
            if (http.Request.Headers.Authorization == "Bearer the-token")
            {
                return false;
            }

            http.Response.StatusCode = 401;
            http.Response.Headers.WWWAuthenticate = "Bearer realm=\"https://tokens.invalid/\",service=\"x\"";
            await http.Response.CompleteAsync();
            return true;
        };
        await using var server = await ThroughServer.StartAsync(
            $"http://{upstream.Host}",
            o => o with { TokenFile = SecretFile("the-token") }
        );

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/app/manifests/1"));
    }

    [Fact]
    public async Task A_redirect_is_followed_without_the_login()
    {
        await using var store = await TestRegistry.StartAsync();
        var blob = store.AddBlob(Samples.Bytes(1000));
        var seen = new List<string?>();
        store.Intercept = http =>
        {
            seen.Add(http.Request.Headers.Authorization);
            return Task.FromResult(false);
        };
        await using var upstream = await TestRegistry.StartAsync();
        upstream.Intercept = http =>
        {
            if (http.Request.Headers.Authorization.Count == 0)
            {
                http.Response.StatusCode = 401;
                http.Response.Headers.WWWAuthenticate = "Basic realm=\"test\"";
                return Task.FromResult(true);
            }

            http.Response.Redirect($"http://localhost:{store.Host.Split(':')[1]}{http.Request.Path}");
            return Task.FromResult(true);
        };
        await using var server = await ThroughServer.StartAsync(
            $"http://{upstream.Host}",
            o => o with { User = "kiln", PasswordFile = SecretFile("secret") }
        );

        var bytes = await server.Http.GetByteArrayAsync($"hub/app/blobs/{blob.Digest}");

        Assert.Equal(blob.Digest, Digest.Of(bytes));
        Assert.Equal([""], seen.Select(value => value ?? ""));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Bytes_that_are_not_what_they_should_be_never_arrive_whole_and_are_not_kept(bool hasLength)
    {
        await using var upstream = await TestRegistry.StartAsync();
        var good = Samples.Bytes(2 << 20);
        var digest = Digest.Of(good);
        var bad = good.ToArray();
        bad[^1] ^= 1;
        upstream.Intercept = async http =>
        {
            http.Response.ContentLength = hasLength ? bad.Length : null;
            await http.Response.Body.WriteAsync(bad);
            return true;
        };
        await using var server = await ThroughServer.StartAsync($"http://{upstream.Host}");

        if (hasLength)
        {
            await Assert.ThrowsAnyAsync<HttpRequestException>(() =>
                server.Http.GetByteArrayAsync($"hub/app/blobs/{digest}")
            );
        }
        else
        {
            using var answer = await server.Http.GetAsync($"hub/app/blobs/{digest}");
            await answer.ShouldFailAsync(502, "UNAVAILABLE");
        }

        var blobs = server.Server.Services.GetRequiredService<Blobs>();
        Assert.Null(blobs.Size(RepositoryName.Parse("hub/app"), digest));
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(server.Server.DataDirectory, "uploads")));
    }

    [Fact]
    public async Task A_manifest_that_is_not_what_it_should_be_is_not_kept()
    {
        await using var upstream = await TestRegistry.StartAsync();
        var wanted = Digest.Of(Samples.Image().Encode());
        upstream.Manifests[wanted.ToString()] = (MediaTypes.OciManifest, Samples.Image().Encode());
        upstream.Manifests["page"] = ("text/html", "<html>"u8.ToArray());
        await using var server = await ThroughServer.StartAsync($"http://{upstream.Host}");

        foreach (var reference in new[] { wanted.ToString(), "page" })
        {
            using var answer = await server.Http.GetAsync($"hub/app/manifests/{reference}");
            await answer.ShouldFailAsync(502, "UNAVAILABLE");
        }
    }

    [Fact]
    public async Task An_upstream_that_has_had_enough_is_left_alone_and_what_is_here_is_served()
    {
        await using var upstream = await TestRegistry.StartAsync();
        upstream.AddManifest("1", MediaTypes.OciManifest, Samples.Image().Encode());
        await using var server = await ThroughServer.StartAsync($"http://{upstream.Host}");
        await server.Http.GetByteArrayAsync("hub/app/manifests/1");
        upstream.Intercept = http =>
        {
            http.Response.StatusCode = 429;
            http.Response.Headers.RetryAfter = "50";
            return Task.FromResult(true);
        };
        server.Time.Advance(TimeSpan.FromHours(1));
        upstream.Requests.Clear();

        for (var i = 0; i < 5; i++)
        {
            using var stale = await server.Http.GetAsync("hub/app/manifests/1");
            Assert.Equal(HttpStatusCode.OK, stale.StatusCode);
            Assert.Contains("429", stale.Header("Warning"));
            using var absent = await server.Http.GetAsync("hub/app/manifests/2");
            await absent.ShouldFailAsync(429, "TOOMANYREQUESTS");
            Assert.InRange(int.Parse(absent.Header("Retry-After")!, null), 1, 50);
        }

        Assert.Single(upstream.Requests);
        upstream.Intercept = _ => Task.FromResult(false);
        server.Time.Advance(TimeSpan.FromMinutes(1));
        using var fresh = await server.Http.GetAsync("hub/app/manifests/1");
        Assert.Null(fresh.Header("Warning"));
    }

    [Fact]
    public async Task Whoever_pulls_through_needs_the_right_to_the_name_that_it_has_here()
    {
        await using var upstream = await TestRegistry.StartAsync();
        upstream.AddManifest("1", MediaTypes.OciManifest, Samples.Image().Encode());
        var through = new UpstreamOptions
        {
            Host = "docker.io",
            Urls = [new Uri($"http://{upstream.Host}")],
            Prefix = "public",
        };
        await using var server = await AccessServer.StartAsync(change: o => o with { Upstreams = [through] });

        foreach (var path in new[] { "public/app/manifests/1", "app/manifests/1?ns=docker.io" })
        {
            using var allowed = await server.SendAsync(null, "GET", path);
            Assert.Equal(HttpStatusCode.OK, allowed.StatusCode);
        }

        var before = upstream.Requests.Count;
        var hidden = through with { Prefix = "team" };
        await using var strict = await AccessServer.StartAsync(change: o => o with { Upstreams = [hidden] });
        foreach (var path in new[] { "team/app/manifests/1", "app/manifests/1?ns=docker.io" })
        {
            using var nobody = await strict.SendAsync(null, "GET", path);
            await nobody.ShouldFailAsync(401, "UNAUTHORIZED");
            Assert.Contains("repository:team/app:pull", nobody.Header("WWW-Authenticate"));
            using var other = await strict.SendAsync(AccessServer.Basic("other"), "GET", path);
            await other.ShouldFailAsync(403, "DENIED");
        }

        Assert.Equal(before, upstream.Requests.Count);
        using var mine = await strict.SendAsync(AccessServer.Basic("pull"), "GET", "app/manifests/1?ns=docker.io");
        Assert.Equal(HttpStatusCode.OK, mine.StatusCode);
    }

    [Fact]
    public async Task All_that_is_wrong_with_upstreams_is_said_at_the_start()
    {
        UpstreamOptions[] wrong =
        [
            new()
            {
                Host = "docker.io",
                Urls = [new Uri("ftp://x")],
                Allow = ["A B"],
            },
            new() { Host = "localhost:5001" },
            new()
            {
                Host = "quay.io",
                Prefix = "quay",
                User = "me",
            },
            new()
            {
                Host = "ghcr.io",
                Prefix = "quay/two",
                TokenFile = "/nonexistent",
            },
            new() { Host = "ok.example.org", Prefix = "a" },
            new() { Host = "ok2.example.org", Prefix = "a/b" },
            new()
            {
                Host = "plain.example.org",
                Urls = [new Uri("http://plain.example.org")],
                TokenFile = SecretFile("x"),
            },
        ];

        var e = await Assert.ThrowsAsync<ServerStartException>(() =>
            TestServer.StartAsync(o => o with { Upstreams = wrong })
        );

        foreach (
            var part in new[]
            {
                "https://HOST",
                "'A B'",
                "localhost:5001 needs a prefix",
                "quay.io has either",
                "/nonexistent",
                "one is in the other",
                "without TLS",
            }
        )
        {
            Assert.Contains(part, e.Message);
        }
    }
}
