using System.Net;
using System.Text.Json.Nodes;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Access;

/// <summary>What a client keeps instead of a password ("identity token" in Docker's words).</summary>
public sealed class RefreshTokenTests : IAsyncLifetime
{
    private AccessServer? _server;

    private AccessServer Server => _server!;

    public async ValueTask InitializeAsync() => _server = await AccessServer.StartAsync();

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Theory]
    [InlineData("GET")]
    [InlineData("POST")]
    public async Task It_is_given_to_who_asks_and_gets_tokens_for_any_scope(string way)
    {
        var refresh = await LoginAsync(way);

        var answer = await RefreshAsync(refresh, "repository:team/a:pull,push");
        using var list = await Server.SendAsync($"Bearer {answer["access_token"]}", "GET", "team/a/tags/list");

        await list.ShouldFailAsync(404, "NAME_UNKNOWN");
        Assert.Equal("repository:team/a:pull,push", (string)answer["scope"]!);
        // It is kept by who has it, and not made longer by being used.
        Assert.Null(answer["refresh_token"]);
    }

    [Fact]
    public async Task Who_does_not_ask_or_is_nobody_gets_none()
    {
        var plain = await Server.TokenAnswerAsync(AccessServer.Basic("all"), "repository:team/a:pull");
        using var anonymous = await Server.SendAsync(null, "GET", "/token?offline_token=true");

        Assert.Null(plain["refresh_token"]);
        Assert.Null(JsonNode.Parse(await anonymous.Content.ReadAsStringAsync())!["refresh_token"]);
    }

    [Fact]
    public async Task It_opens_nothing_itself()
    {
        var refresh = await LoginAsync("GET");

        using var bearer = await Server.SendAsync($"Bearer {refresh}", "GET", "team/a/tags/list");
        await bearer.ShouldFailAsync(401, "UNAUTHORIZED");
        using var password = await Server.SendAsync(AccessServer.Basic("all", refresh), "GET", "team/a/tags/list");
        await password.ShouldFailAsync(401, "UNAUTHORIZED");
        using var another = await Server.SendAsync(
            AccessServer.Basic("all", refresh),
            "GET",
            "/token?offline_token=true"
        );
        await another.ShouldFailAsync(401, "UNAUTHORIZED");
    }

    [Fact]
    public async Task A_changed_password_ends_it_and_so_do_ninety_days()
    {
        var (first, second) = (await LoginAsync("GET"), await LoginAsync("GET", "pull"));
        var text = await File.ReadAllTextAsync(Server.HtpasswdFile);
        var changed = text.Split('\n').Where(l => !l.StartsWith("all:", StringComparison.Ordinal));
        await Server.ChangeAsync(
            Server.HtpasswdFile,
            string.Join('\n', changed) + $"all:{BCrypt.Net.BCrypt.HashPassword("new", 4)}\n"
        );

        Assert.Equal(401, await StatusAsync(first));
        Assert.Equal(200, await StatusAsync(second));
        // The date alone: every timer that comes again each second would have its millions of turns.
        Server.Time.AdjustTime(Server.Time.GetUtcNow().AddDays(89));
        Assert.Equal(200, await StatusAsync(second));
        Server.Time.AdjustTime(Server.Time.GetUtcNow().AddDays(2));
        Assert.Equal(401, await StatusAsync(second));
    }

    [Fact]
    public async Task It_does_not_outlive_the_machine_token_that_it_was_given_for()
    {
        using var issued = await Server.Http.SendAsync(
            "POST",
            "/admin/v1/tokens",
            """{"name":"ci","repositories":["team/**"],"actions":["pull"],"expiresInSeconds":3600}"""u8.ToArray(),
            "application/json",
            ("Authorization", AccessServer.Basic("root"))
        );
        Assert.Equal(HttpStatusCode.Created, issued.StatusCode);
        var secret = (string)JsonNode.Parse(await issued.Content.ReadAsStringAsync())!["token"]!;
        using var login = await Server.SendAsync(AccessServer.Basic("x", secret), "GET", "/token?offline_token=true");
        var refresh = (string)JsonNode.Parse(await login.Content.ReadAsStringAsync())!["refresh_token"]!;

        Assert.Equal(200, await StatusAsync(refresh));
        Server.Time.Advance(TimeSpan.FromHours(2));
        Assert.Equal(401, await StatusAsync(refresh));
    }

    private async Task<string> LoginAsync(string way, string user = "all")
    {
        using var response =
            way == "GET"
                ? await Server.SendAsync(AccessServer.Basic(user), "GET", "/token?service=x&offline_token=true")
                : await PostAsync(
                    $"grant_type=password&username={user}&password={Uri.EscapeDataString(AccessServer.PasswordOf(user))}&access_type=offline"
                );
        return (string)JsonNode.Parse(await response.Content.ReadAsStringAsync())!["refresh_token"]!;
    }

    private async Task<JsonNode> RefreshAsync(string token, string scope)
    {
        using var response = await PostAsync(
            $"grant_type=refresh_token&service=x&client_id=docker&scope={Uri.EscapeDataString(scope)}&refresh_token={token}"
        );
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, body);
        return JsonNode.Parse(body)!;
    }

    private async Task<int> StatusAsync(string token)
    {
        using var response = await PostAsync($"grant_type=refresh_token&refresh_token={token}");
        return (int)response.StatusCode;
    }

    private Task<HttpResponseMessage> PostAsync(string form) =>
        Server.Http.SendAsync(
            "POST",
            "/token",
            System.Text.Encoding.ASCII.GetBytes(form),
            "application/x-www-form-urlencoded"
        );
}
