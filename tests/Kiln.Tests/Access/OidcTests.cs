using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Kiln.Tests.Registry;
using Microsoft.IdentityModel.Tokens;

namespace Kiln.Tests.Access;

/// <summary>Tokens of an issuer, from a real one with real signatures.</summary>
public sealed class OidcTests : IAsyncLifetime
{
    private OidcIssuer? _issuer;
    private AccessServer? _server;

    private OidcIssuer Issuer => _issuer!;
    private AccessServer Server => _server!;

    private DateTimeOffset Now => Server.Time.GetUtcNow();

    public async ValueTask InitializeAsync()
    {
        _issuer = await OidcIssuer.StartAsync();
        _server = await AccessServer.StartAsync(
            $$"""
            issuers:
              - name: lab
                url: {{_issuer.Url}}
                audience: [kiln, other]
                user: sub
                algorithms: [RS256, ES256]
                clock-skew-seconds: 30
            groups:
              hpc:
                - { issuer: lab, claim: groups, value: "hpc-*" }
            rules:
              - { who: group:hpc, repositories: "hpc/**", actions: [pull, push] }
              - { who: "lab:carol", repositories: "carol/**", actions: [pull] }
            """
        );
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        await Issuer.DisposeAsync();
    }

    [Fact]
    public async Task A_token_is_taken_as_bearer_as_password_and_for_a_token()
    {
        var token = Issuer.Sign(Now);

        foreach (var login in new[] { $"Bearer {token}", AccessServer.Basic("oidc", token) })
        {
            Assert.Equal(202, await StatusAsync(login, "POST", "hpc/app/blobs/uploads/"));
            Assert.Equal(404, await StatusAsync(login, "GET", "carol/app/tags/list"));
            Assert.Equal(403, await StatusAsync(login, "POST", "carol/app/blobs/uploads/"));
        }

        var own = await Server.TokenAsync(AccessServer.Basic("oidc", token), "repository:hpc/app:pull,push");
        Assert.Equal(202, await StatusAsync(own, "POST", "hpc/app/blobs/uploads/"));
    }

    [Fact]
    public async Task Where_nobody_may_see_anything_unasked_the_catalog_takes_a_login()
    {
        using var anonymous = await Server.SendAsync(null, "GET", "_catalog");
        await anonymous.ShouldFailAsync(401, "UNAUTHORIZED");
        Assert.EndsWith("scope=\"registry:catalog:*\"", anonymous.Header("WWW-Authenticate"));
        Assert.Equal(200, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "_catalog"));
    }

    [Fact]
    public async Task What_is_given_for_a_token_does_not_outlive_it()
    {
        var token = Issuer.Sign(Now, lifetime: TimeSpan.FromSeconds(60));

        var answer = await Server.TokenAnswerAsync(AccessServer.Basic("oidc", token), "repository:hpc/app:pull");

        // and the 30 seconds by which clocks may differ
        Assert.Equal(90, (int)answer["expires_in"]!);
    }

    [Fact]
    public async Task Claims_decide_about_groups()
    {
        Dictionary<string, object> outside = new() { ["groups"] = "bio", ["sub"] = "dave" };
        Dictionary<string, object> inside = new() { ["groups"] = "hpc-guests", ["sub"] = "dave" };

        Assert.Equal(403, await StatusAsync($"Bearer {Issuer.Sign(Now, outside)}", "GET", "hpc/app/tags/list"));
        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now, inside)}", "GET", "hpc/app/tags/list"));
        Assert.Equal(403, await StatusAsync($"Bearer {Issuer.Sign(Now, inside)}", "GET", "carol/app/tags/list"));
    }

    [Fact]
    public async Task Wrong_tokens_are_refused()
    {
        using var foreign = RSA.Create(2048);
        var known = new RsaSecurityKey(foreign) { KeyId = "key-1" };
        var secret = new SymmetricSecurityKey(RandomNumberGenerator.GetBytes(64)) { KeyId = "key-1" };
        string[] wrong =
        [
            Issuer.Sign(Now, audience: "somebody-else"),
            Issuer.Sign(Now, audience: null),
            Issuer.Sign(Now, issuer: "http://127.0.0.1:1"),
            Issuer.Sign(Now, issuer: Issuer.Url + "/"),
            Issuer.Sign(Now - TimeSpan.FromMinutes(11)),
            Issuer.Sign(Now, claims: new() { ["nbf"] = (Now + TimeSpan.FromMinutes(1)).ToUnixTimeSeconds() }),
            Issuer.Sign(Now, claims: new() { ["sub"] = "" }),
            Issuer.Sign(Now, claims: new() { ["sub"] = "a\nb" }),
            Issuer.Sign(Now, key: known),
            Issuer.Sign(Now, algorithm: SecurityAlgorithms.RsaSha384),
            Issuer.Sign(Now, key: secret, algorithm: SecurityAlgorithms.HmacSha256),
            Issuer.Sign(
                Now,
                claims: new()
                {
                    ["iss"] = "kiln",
                    ["kiln_kind"] = "LocalUser",
                    ["access"] = Array.Empty<string>(),
                }
            ),
            Unsigned(Issuer.Sign(Now)),
        ];
        for (var i = 0; i < wrong.Length; i++)
        {
            Assert.True(401 == await StatusAsync($"Bearer {wrong[i]}", "GET", "hpc/app/tags/list"), $"token {i}");
        }

        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));
    }

    [Fact]
    public async Task Clocks_may_differ_by_as_much_as_the_policy_says()
    {
        var token = Issuer.Sign(Now, lifetime: TimeSpan.FromSeconds(60));
        Server.Time.Advance(TimeSpan.FromSeconds(89));
        Assert.Equal(404, await StatusAsync($"Bearer {token}", "GET", "hpc/app/tags/list"));
        Server.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(401, await StatusAsync($"Bearer {token}", "GET", "hpc/app/tags/list"));
    }

    [Fact]
    public async Task A_new_key_of_the_issuer_is_fetched_when_a_token_names_it_but_not_at_will()
    {
        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));
        Assert.Equal(
            404,
            await StatusAsync($"Bearer {Issuer.Sign(Now + TimeSpan.FromSeconds(1))}", "GET", "hpc/app/tags/list")
        );
        Assert.Equal(1, Issuer.KeyRequests);

        Issuer.Rotate();
        Server.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));
        Assert.Equal(2, Issuer.KeyRequests);

        using var unknown = RSA.Create(2048);
        for (var i = 0; i < 5; i++)
        {
            var forged = Issuer.Sign(Now, key: new RsaSecurityKey(unknown) { KeyId = $"forged-{i}" });
            Assert.Equal(401, await StatusAsync($"Bearer {forged}", "GET", "hpc/app/tags/list"));
        }

        Assert.Equal(2, Issuer.KeyRequests);
    }

    [Fact]
    public async Task Known_keys_count_while_the_issuer_is_away()
    {
        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));
        Issuer.IsDown = true;
        Server.Time.Advance(TimeSpan.FromHours(13));

        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));
    }

    [Fact]
    public async Task An_issuer_that_was_never_there_opens_nothing_and_breaks_nothing()
    {
        Issuer.IsDown = true;

        Assert.Equal(401, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));

        Issuer.IsDown = false;
        Server.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(404, await StatusAsync($"Bearer {Issuer.Sign(Now)}", "GET", "hpc/app/tags/list"));
    }

    private static string Unsigned(string token)
    {
        var header = Base64UrlEncoder.Encode(new JsonObject { ["alg"] = "none" }.ToJsonString());
        return $"{header}.{token.Split('.')[1]}.";
    }

    private async Task<int> StatusAsync(string authorization, string method, string path)
    {
        using var response = await Server.SendAsync(authorization, method, path);
        return (int)response.StatusCode;
    }
}
