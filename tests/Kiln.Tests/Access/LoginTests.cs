using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Kiln.Client;
using Kiln.Client.Credentials;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Access.Logins;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Access;

/// <summary>Passwords and bearer tokens, as clients use them.</summary>
public sealed class LoginTests : IAsyncLifetime
{
    private AccessServer? _server;

    private AccessServer Server => _server!;

    public async ValueTask InitializeAsync() => _server = await AccessServer.StartAsync();

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Fact]
    public async Task A_token_is_for_what_was_asked_and_allowed_and_nothing_else()
    {
        var answer = await Server.TokenAnswerAsync(
            AccessServer.Basic("pull"),
            "repository:team/a:pull,push",
            "repository:other/b:pull registry:catalog:* registry:admin:*",
            "repository(plugin):team/c:*",
            "nonsense:x:y"
        );

        Assert.Equal("repository:team/a:pull registry:catalog:* repository:team/c:pull", (string)answer["scope"]!);
        Assert.Equal((string)answer["token"]!, (string)answer["access_token"]!);
        Assert.Equal(300, (int)answer["expires_in"]!);
    }

    // Credentials of a connection's last request are known again without being checked: they must not become another's.
    [Fact]
    public async Task Each_request_of_a_connection_is_whose_credentials_it_brings()
    {
        using var handler = new SocketsHttpHandler { MaxConnectionsPerServer = 1 };
        using var one = new HttpClient(handler) { BaseAddress = new Uri(Server.Http.BaseAddress!, "/v2/") };
        async Task<int> AskAsync(string? credentials)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "other/b/tags/list");
            request.Headers.Authorization = credentials is null ? null : AuthenticationHeaderValue.Parse(credentials);
            using var response = await one.SendAsync(request);
            await response.Content.ReadAsByteArrayAsync();
            return (int)response.StatusCode;
        }

        var (mine, theirs) = (AccessServer.Basic("other"), AccessServer.Basic("pull"));
        var token = await Server.TokenAsync(mine, "repository:other/b:pull");
        (string? Credentials, int Status)[] asked =
        [
            (mine, 404),
            (mine, 404),
            (theirs, 403),
            (theirs, 403),
            (null, 401),
            (token, 404),
            (token, 404),
            (token + "x", 401),
            (mine, 404),
        ];
        foreach (var (credentials, status) in asked.Concat(asked))
        {
            Assert.Equal(status, await AskAsync(credentials));
        }

        await AskAsync(token);
        Server.Time.Advance(TimeSpan.FromMinutes(6));
        Assert.Equal(401, await AskAsync(token));
    }

    [Fact]
    public async Task The_form_of_OAuth_works_too()
    {
        using var form = new FormUrlEncodedContent(
            new Dictionary<string, string>
            {
                ["grant_type"] = "password",
                ["username"] = "all",
                ["password"] = AccessServer.PasswordOf("all"),
                ["client_id"] = "test",
                ["service"] = Server.Host,
                ["scope"] = "repository:team/a:pull",
            }
        );
        using var response = await Server.Http.PostAsync("/token", form);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;

        using var list = await Server.SendAsync($"Bearer {answer["access_token"]}", "GET", "team/a/tags/list");
        await list.ShouldFailAsync(404, "NAME_UNKNOWN");
    }

    [Theory]
    [InlineData("grant_type=password&username=all&password=wrong", 401)]
    [InlineData("grant_type=password&username=&password=", 401)]
    [InlineData("grant_type=refresh_token&refresh_token=eyJhIjoxfQ.e30.x", 401)]
    [InlineData("grant_type=authorization_code", 400)]
    [InlineData("", 400)]
    [InlineData("grant_type=password&username=all&password=secret+of+all&scope=nonsense", 400)]
    public async Task A_wrong_form_is_refused_in_the_envelope(string form, int status)
    {
        using var response = await Server.Http.SendAsync(
            "POST",
            "/token",
            System.Text.Encoding.ASCII.GetBytes(form),
            "application/x-www-form-urlencoded"
        );

        await response.ShouldFailAsync(status, status == 401 ? "UNAUTHORIZED" : "UNSUPPORTED");
    }

    [Fact]
    public async Task A_bearer_token_is_no_password_for_another_one()
    {
        var token = await Server.TokenAsync(AccessServer.Basic("all"), "repository:team/a:pull");

        using var direct = await Server.SendAsync(token, "GET", "/token?scope=repository:team/a:push");
        await direct.ShouldFailAsync(401, "UNAUTHORIZED");
        using var asPassword = await Server.SendAsync(
            AccessServer.Basic("all", token["Bearer ".Length..]),
            "GET",
            "/token?scope=repository:team/a:push"
        );
        await asPassword.ShouldFailAsync(401, "UNAUTHORIZED");
    }

    [Theory]
    [InlineData("alg")]
    [InlineData("payload")]
    [InlineData("signature")]
    public async Task A_forged_token_is_refused(string what)
    {
        var token = (await Server.TokenAsync(AccessServer.Basic("pull"), "repository:team/a:pull"))["Bearer ".Length..];
        var parts = token.Split('.');
        var forged = what switch
        {
            "alg" => $"{Encode("""{"alg":"none","typ":"JWT"}""")}.{parts[1]}.",
            "payload" => $"{parts[0]}.{Encode(Decode(parts[1]).Replace("\"pull\"", "\"push\""))}.{parts[2]}",
            _ => token[..^4] + (token[^4] == 'A' ? 'B' : 'A') + token[^3..],
        };

        using var response = await Server.SendAsync($"Bearer {forged}", "GET", "team/a/tags/list");

        await response.ShouldFailAsync(401, "UNAUTHORIZED");
        static string Encode(string text) =>
            System.Buffers.Text.Base64Url.EncodeToString(System.Text.Encoding.UTF8.GetBytes(text));
        static string Decode(string text) =>
            System.Text.Encoding.UTF8.GetString(System.Buffers.Text.Base64Url.DecodeFromChars(text));
    }

    [Fact]
    public async Task A_changed_password_ends_old_ones_and_tokens_given_for_them()
    {
        var token = await Server.TokenAsync(AccessServer.Basic("all"), "repository:team/a:pull");
        var kept = await Server.TokenAsync(AccessServer.Basic("pull"), "repository:team/a:pull");
        Assert.Equal(HttpStatusCode.OK, await PingAsync(AccessServer.Basic("all")));

        var text = await File.ReadAllTextAsync(Server.HtpasswdFile);
        var changed = string.Concat(
            text.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(l =>
                    l.StartsWith("all:", StringComparison.Ordinal)
                        ? $"all:{BCrypt.Net.BCrypt.HashPassword("new", 4)}\n"
                        : l + "\n"
                )
        );
        await Server.ChangeAsync(Server.HtpasswdFile, changed);

        Assert.Equal(HttpStatusCode.Unauthorized, await PingAsync(AccessServer.Basic("all")));
        Assert.Equal(HttpStatusCode.Unauthorized, await PingAsync(token));
        Assert.Equal(HttpStatusCode.OK, await PingAsync(AccessServer.Basic("all", "new")));
        Assert.Equal(HttpStatusCode.OK, await PingAsync(kept));
    }

    [Fact]
    public async Task A_changed_policy_counts_and_a_wrong_one_does_not()
    {
        var token = await Server.TokenAsync(AccessServer.Basic("pull"), "repository:team/a:pull");
        Assert.Equal(404, await StatusAsync(token));

        await Server.ChangeAsync(Server.PolicyFile, "rules: nonsense");
        Assert.Equal(404, await StatusAsync(token));

        await Server.ChangeAsync(Server.PolicyFile, AccessServer.Policy.Replace("who: pull,", "who: push,"));
        Assert.Equal(403, await StatusAsync(token));
        Assert.Equal(
            ["refused", "done"],
            Server.Audit().Where(e => (string)e["action"]! == "policy.reload").Select(e => (string)e["outcome"]!)
        );

        async Task<int> StatusAsync(string authorization)
        {
            using var response = await Server.SendAsync(authorization, "GET", "team/a/tags/list");
            return (int)response.StatusCode;
        }
    }

    [Fact]
    public async Task A_password_is_checked_once_and_then_remembered()
    {
        // Cost 12 is a quarter of a second or more: 200 requests would take a minute.
        var hash = BCrypt.Net.BCrypt.HashPassword("slow", 12);
        await Server.ChangeAsync(Server.HtpasswdFile, $"all:{hash}\n");
        var clock = System.Diagnostics.Stopwatch.StartNew();
        for (var i = 0; i < 200; i++)
        {
            Assert.Equal(HttpStatusCode.OK, await PingAsync(AccessServer.Basic("all", "slow")));
        }

        var all = clock.Elapsed;
        clock.Restart();
        Assert.False(BCrypt.Net.BCrypt.Verify("other", hash));
        // Measured on this machine as it is now: not half of what as many checks would take.
        Assert.True(all < 100 * clock.Elapsed, $"took {all}, one check {clock.Elapsed}");
    }

    [Fact]
    public async Task A_user_who_is_not_there_costs_a_check_as_well()
    {
        var users = Htpasswd.Parse($"a:{BCrypt.Net.BCrypt.HashPassword("x", 11)}\n", "f", []);
        using var passwords = new Passwords();
        var there = await TimeAsync("a");
        var absent = await TimeAsync("b");

        Assert.True(absent > there / 3, $"{absent} against {there}");

        async Task<TimeSpan> TimeAsync(string user)
        {
            var clock = System.Diagnostics.Stopwatch.StartNew();
            for (var i = 0; i < 3; i++)
            {
                Assert.False(await passwords.CheckAsync(users, user, "wrong", default));
            }

            return clock.Elapsed;
        }
    }

    [Fact]
    public async Task The_client_of_Kiln_logs_in_pushes_and_pulls()
    {
        using var client = new RegistryClient(new RegistryClientOptions { Credentials = new As("all") });
        Assert.True(Reference.TryParse($"{Server.Host}/team/client:one", out var reference));
        var repository = new RemoteRepository(Server.Host, RepositoryName.Parse("team/client"));
        await client.PingAsync(Server.Host, TestContext.Current.CancellationToken);

        await client.PushManifestAsync(
            reference,
            MediaTypes.OciIndex,
            Samples.Index().Encode(),
            TestContext.Current.CancellationToken
        );

        Assert.Equal(["one"], await client.ListTagsAsync(repository, TestContext.Current.CancellationToken));
    }

    private async Task<HttpStatusCode> PingAsync(string authorization)
    {
        using var response = await Server.SendAsync(authorization, "GET", "");
        return response.StatusCode;
    }

    private sealed class As(string user) : ICredentialSource
    {
        public Kiln.Client.Credentials.Login? Find(string host, RepositoryName? repository) =>
            new(user, AccessServer.PasswordOf(user));
    }
}
