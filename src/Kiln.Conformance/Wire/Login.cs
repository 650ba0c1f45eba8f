using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Kiln.Conformance.Wire;

/// <summary>Says who asks: nothing, Basic, or a token of the registry's token service, as its challenge wants.</summary>
internal sealed class Login(HttpClient http, ConformanceOptions options)
{
    private const int MaxTokenBytes = 1 << 20;
    private static readonly string[] AfterName =
    [
        "/blobs/",
        "/manifests/",
        "/tags/",
        "/referrers/",
        "/_build/",
        "/_oci/",
    ];

    /// <summary>By repository and whether it is a read: what the registry took.</summary>
    private readonly Dictionary<string, string> _known = new(StringComparer.Ordinal);

    private string? Basic =>
        options.UserName is null
            ? null
            : "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{options.UserName}:{options.Password}"));

    /// <summary>What the registry took the last time for such a request; null where it asked for nothing yet.</summary>
    public string? Known(Call call, Uri uri)
    {
        lock (_known)
        {
            return _known.GetValueOrDefault(KeyOf(call, uri));
        }
    }

    /// <summary>An answer to a challenge; null where there is none.</summary>
    public async Task<string?> AnswerAsync(
        IReadOnlyList<AuthenticationHeaderValue> challenges,
        Call call,
        Uri uri,
        CancellationToken cancel
    )
    {
        string? answer = null;
        if (challenges.FirstOrDefault(c => Is(c, "Bearer")) is { Parameter: { } parameters })
        {
            answer = await TokenAsync(Parameters(parameters), uri, cancel);
        }
        else if (challenges.Any(c => Is(c, "Basic")))
        {
            answer = Basic;
        }

        if (answer is not null)
        {
            lock (_known)
            {
                _known[KeyOf(call, uri)] = answer;
            }
        }

        return answer;
    }

    // The token protocol of the distribution project: GET on the realm with service and scope, and the login as Basic.
    private async Task<string?> TokenAsync(Dictionary<string, string> challenge, Uri uri, CancellationToken cancel)
    {
        if (
            !challenge.TryGetValue("realm", out var realm)
            || !Uri.TryCreate(uri, realm, out var address)
            || (address.Scheme != Uri.UriSchemeHttps && address.Authority != uri.Authority && !address.IsLoopback)
        )
        {
            return null;
        }

        var query = new List<string>();
        foreach (var name in new[] { "service", "scope" })
        {
            if (challenge.TryGetValue(name, out var value))
            {
                query.AddRange(
                    (name == "scope" ? value.Split(' ') : [value]).Select(one => $"{name}={Uri.EscapeDataString(one)}")
                );
            }
        }

        var builder = new UriBuilder(address);
        builder.Query = string.Join(
            '&',
            [.. builder.Query.Length > 1 ? [builder.Query[1..]] : Array.Empty<string>(), .. query]
        );
        using var request = new HttpRequestMessage(HttpMethod.Get, builder.Uri);
        if (Basic is { } basic)
        {
            request.Headers.TryAddWithoutValidation("Authorization", basic);
        }

        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel);
        if (!response.IsSuccessStatusCode || response.Content.Headers.ContentLength > MaxTokenBytes)
        {
            return null;
        }

        return TokenIn(await response.Content.ReadAsByteArrayAsync(cancel)) is { } token ? "Bearer " + token : null;
    }

    private static string? TokenIn(byte[] body)
    {
        try
        {
            var answer = JsonNode.Parse(body);
            return answer.MaybeText("token") ?? answer.MaybeText("access_token");
        }
        catch (Exception e) when (e is JsonException or CheckFailedException)
        {
            return null;
        }
    }

    private static bool Is(AuthenticationHeaderValue challenge, string scheme) =>
        challenge.Scheme.Equals(scheme, StringComparison.OrdinalIgnoreCase);

    /// <summary><c>name="value",name=value</c>; a comma inside of quotes belongs to the value.</summary>
    private static Dictionary<string, string> Parameters(string text)
    {
        var found = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        for (var at = 0; at < text.Length; )
        {
            var equals = text.IndexOf('=', at);
            if (equals < 0)
            {
                break;
            }

            var name = text[at..equals].Trim(' ', ',');
            var quoted = equals + 1 < text.Length && text[equals + 1] == '"';
            var start = equals + (quoted ? 2 : 1);
            var end = start > text.Length ? -1 : text.IndexOf(quoted ? '"' : ',', start);
            end = end < 0 ? text.Length : end;
            found[name] = text[Math.Min(start, end)..end];
            at = end + 1;
        }

        return found;
    }

    private static string KeyOf(Call call, Uri uri)
    {
        var path = uri.AbsolutePath;
        var cut = AfterName
            .Select(part => path.IndexOf(part, StringComparison.Ordinal))
            .Where(at => at >= 0)
            .DefaultIfEmpty(path.Length)
            .Min();
        return $"{(call.Method is "GET" or "HEAD" ? "read" : call.Method)} {path[..cut]} {path.Contains("/_build/", StringComparison.Ordinal)}";
    }
}
