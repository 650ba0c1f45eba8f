using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Kiln.Tests.Access;

/// <summary>A small OpenID Connect issuer: a discovery document, its keys, and tokens that are really signed.</summary>
internal sealed class OidcIssuer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly List<SecurityKey> _keys = [];
    private int _keyNumber;

    private OidcIssuer(WebApplication app) => _app = app;

    public string Url => _app.Urls.Single();

    /// <summary>Whether it answers at all.</summary>
    public bool IsDown { get; set; }

    /// <summary>How often its keys were asked for.</summary>
    public int KeyRequests { get; private set; }

    public static async Task<OidcIssuer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var issuer = new OidcIssuer(builder.Build());
        issuer._app.Run(issuer.AnswerAsync);
        issuer.Rotate();
        await issuer._app.StartAsync();
        return issuer;
    }

    /// <summary>Signs with a new key from now on.</summary>
    public void Rotate() =>
        _keys.Add(
            _keyNumber++ % 2 == 0
                ? new RsaSecurityKey(RSA.Create(2048)) { KeyId = $"key-{_keyNumber}" }
                : new ECDsaSecurityKey(ECDsa.Create(ECCurve.NamedCurves.nistP256)) { KeyId = $"key-{_keyNumber}" }
        );

    public string Sign(
        DateTimeOffset now,
        Dictionary<string, object>? claims = null,
        TimeSpan? lifetime = null,
        string? audience = "kiln",
        string? issuer = null,
        SecurityKey? key = null,
        string? algorithm = null
    )
    {
        var signing = key ?? _keys[^1];
        var payload = new JsonObject
        {
            ["iss"] = issuer ?? Url,
            ["sub"] = "carol",
            ["iat"] = now.ToUnixTimeSeconds(),
            ["exp"] = (now + (lifetime ?? TimeSpan.FromMinutes(10))).ToUnixTimeSeconds(),
            ["groups"] = new JsonArray("hpc-staff", "bio"),
        };
        if (audience is not null)
        {
            payload["aud"] = audience;
        }

        foreach (var (name, value) in claims ?? [])
        {
            payload[name] = JsonSerializer.SerializeToNode(value);
        }

        return new JsonWebTokenHandler().CreateToken(
            payload.ToJsonString(),
            new SigningCredentials(
                signing,
                algorithm ?? (signing is RsaSecurityKey ? SecurityAlgorithms.RsaSha256 : SecurityAlgorithms.EcdsaSha256)
            )
        );
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private Task AnswerAsync(HttpContext http)
    {
        if (IsDown)
        {
            http.Response.StatusCode = 503;
            return Task.CompletedTask;
        }

        if (http.Request.Path == "/.well-known/openid-configuration")
        {
            return http.Response.WriteAsync(
                new JsonObject { ["issuer"] = Url, ["jwks_uri"] = Url + "/keys" }.ToJsonString()
            );
        }

        KeyRequests++;
        return http.Response.WriteAsync(
            new JsonObject { ["keys"] = new JsonArray([.. _keys.Select(k => (JsonNode)Public(k))]) }.ToJsonString()
        );
    }

    private static JsonObject Public(SecurityKey key)
    {
        if (key is RsaSecurityKey rsa)
        {
            var numbers = rsa.Rsa.ExportParameters(false);
            return new JsonObject
            {
                ["kty"] = "RSA",
                ["use"] = "sig",
                ["kid"] = key.KeyId,
                ["n"] = Base64UrlEncoder.Encode(numbers.Modulus),
                ["e"] = Base64UrlEncoder.Encode(numbers.Exponent),
            };
        }

        var point = ((ECDsaSecurityKey)key).ECDsa.ExportParameters(false);
        return new JsonObject
        {
            ["kty"] = "EC",
            ["use"] = "sig",
            ["crv"] = "P-256",
            ["kid"] = key.KeyId,
            ["x"] = Base64UrlEncoder.Encode(point.Q.X),
            ["y"] = Base64UrlEncoder.Encode(point.Q.Y),
        };
    }
}
