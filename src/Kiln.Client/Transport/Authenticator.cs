using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Kiln.Client.Credentials;

namespace Kiln.Client.Transport;

/// <summary>
/// Answers authentication challenges: Basic, and the bearer tokens of the distribution project's token specification
/// (<see href="https://distribution.github.io/distribution/spec/auth/token/"/>).
/// </summary>
internal sealed class Authenticator(RegistryClientOptions options)
{
    private const int MaxTokenBytes = 1 << 20;

    // Tokens without a stated lifetime live 60 seconds (token specification); a little less, for the way.
    private const int DefaultTokenSeconds = 60;
    private const int TokenMarginSeconds = 10;

    private readonly ConcurrentDictionary<string, AuthChallenge> _challenges = new();
    private readonly ConcurrentDictionary<(string Host, string Scope), Token> _tokens = new();

    private sealed record Token(string Value, DateTimeOffset Expires);

    /// <summary>The header for a registry that was met before; null for the first meeting and for open registries.</summary>
    public AuthenticationHeaderValue? Known(Call call)
    {
        if (!_challenges.TryGetValue(call.Host, out var challenge))
        {
            return null;
        }

        if (challenge.IsBasic)
        {
            return Basic(options.Credentials.Find(call.Host, call.Repository));
        }

        return _tokens.TryGetValue((call.Host, Scope(call)), out var token) && token.Expires > options.Time.GetUtcNow()
            ? new AuthenticationHeaderValue("Bearer", token.Value)
            : null;
    }

    /// <summary>Answers the challenges of a 401; null where there is no answer.</summary>
    public async Task<AuthenticationHeaderValue?> AnswerAsync(
        Call call,
        IEnumerable<string> challenges,
        HttpClient http,
        CancellationToken cancel
    )
    {
        var challenge = AuthChallenge.Best(challenges);
        if (challenge is null)
        {
            return null;
        }

        _challenges[call.Host] = challenge;
        var login = options.Credentials.Find(call.Host, call.Repository);
        if (challenge.IsBasic)
        {
            return Basic(login);
        }

        if (login?.BearerToken is { } ready)
        {
            return new AuthenticationHeaderValue("Bearer", ready);
        }

        var token = await FetchTokenAsync(call, challenge, login, http, cancel);
        _tokens[(call.Host, Scope(call))] = token;
        return new AuthenticationHeaderValue("Bearer", token.Value);
    }

    private static string Scope(Call call) =>
        call.Repository is null ? "" : $"repository:{call.Repository}:{call.Rights}";

    private static AuthenticationHeaderValue? Basic(Login? login) =>
        login is null or { User: "" }
            ? null
            : new AuthenticationHeaderValue(
                "Basic",
                Convert.ToBase64String(Encoding.UTF8.GetBytes($"{login.User}:{login.Password}"))
            );

    private async Task<Token> FetchTokenAsync(
        Call call,
        AuthChallenge challenge,
        Login? login,
        HttpClient http,
        CancellationToken cancel
    )
    {
        var realm = Realm(call, challenge["realm"]!);
        using var request = TokenRequest(realm, challenge, challenge["scope"] ?? Scope(call), login);
        var (status, body) = await Patience.WithAsync(
            realm.Authority,
            options,
            async (_, token) =>
            {
                using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, token);
                return (response.StatusCode, await BodyAsync(call, realm, response, token));
            },
            cancel
        );
        if ((int)status is < 200 or > 299)
        {
            var who = login is null ? "anonymously (log in first, for example with 'podman login')" : "with this login";
            throw new RegistryException(
                (int)status >= 500 ? RegistryFault.Unavailable : RegistryFault.NotAllowed,
                call.Action,
                $"{realm.Host} gives no token {who}: HTTP {(int)status}"
            )
            {
                Host = call.Host,
                Status = (int)status,
            };
        }

        return ReadToken(body)
            ?? throw new RegistryException(RegistryFault.Broken, call.Action, $"{realm.Host} answered without a token");
    }

    private static async Task<byte[]> BodyAsync(
        Call call,
        Uri realm,
        HttpResponseMessage response,
        CancellationToken cancel
    )
    {
        try
        {
            return await BoundedBody.ReadAsync(response, MaxTokenBytes, cancel);
        }
        catch (InvalidDataException e)
        {
            throw new RegistryException(RegistryFault.Broken, call.Action, $"of {realm.Host}: {e.Message}", e)
            {
                Host = call.Host,
            };
        }
    }

    // A password goes over TLS, or to a host that plain HTTP was allowed for.
    private Uri Realm(Call call, string text)
    {
        if (Uri.TryCreate(text, UriKind.Absolute, out var realm))
        {
            var plainAllowed =
                RegistryAddress.IsLoopback(realm.Authority)
                || options.InsecureRegistries.Contains(realm.Authority, StringComparer.OrdinalIgnoreCase);
            if (realm.Scheme == Uri.UriSchemeHttps || (realm.Scheme == Uri.UriSchemeHttp && plainAllowed))
            {
                return realm;
            }
        }

        throw new RegistryException(
            RegistryFault.NotAllowed,
            call.Action,
            $"{call.Host} asks for a login at '{text}', which is not an https address; no credentials were sent"
        );
    }

    private static HttpRequestMessage TokenRequest(Uri realm, AuthChallenge challenge, string scope, Login? login)
    {
        var fields = new List<KeyValuePair<string, string>>();
        if (challenge["service"] is { } service)
        {
            fields.Add(new("service", service));
        }

        if (scope.Length > 0)
        {
            fields.Add(new("scope", scope));
        }

        if (login?.IdentityToken is { } identity)
        {
            fields.AddRange([
                new("grant_type", "refresh_token"),
                new("refresh_token", identity),
                new("client_id", "kiln"),
            ]);
            return new HttpRequestMessage(HttpMethod.Post, realm) { Content = new FormUrlEncodedContent(fields) };
        }

        var query = string.Join('&', fields.Select(f => $"{f.Key}={Uri.EscapeDataString(f.Value)}"));
        var uri = new UriBuilder(realm) { Query = realm.Query.Length > 1 ? $"{realm.Query[1..]}&{query}" : query }.Uri;
        var request = new HttpRequestMessage(HttpMethod.Get, uri);
        request.Headers.Authorization = Basic(login);
        return request;
    }

    private Token? ReadToken(byte[] body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            var root = document.RootElement;
            var value =
                root.TryGetProperty("token", out var token) && token.ValueKind == JsonValueKind.String ? token
                : root.TryGetProperty("access_token", out var access) ? access
                : default;
            if (value.ValueKind != JsonValueKind.String)
            {
                return null;
            }

            var seconds =
                root.TryGetProperty("expires_in", out var expires) && expires.TryGetInt32(out var given)
                    ? given
                    : DefaultTokenSeconds;
            return new Token(
                value.GetString()!,
                options.Time.GetUtcNow().AddSeconds(Math.Max(0, seconds - TokenMarginSeconds))
            );
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
