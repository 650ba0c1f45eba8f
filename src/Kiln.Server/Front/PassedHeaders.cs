using System.Net.Http.Headers;
using Kiln.Client.Transport;
using Kiln.Server.Access.Guard;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Kiln.Server.Front;

/// <summary>
/// Which headers go through, and how those are written anew that name the registry behind: clients go on speaking to this
/// one.
/// </summary>
internal static class PassedHeaders
{
    private const string Via = "Via";

    // By connection, not by request (RFC 9110, 7.6.1).
    private static readonly HashSet<string> HopByHop = new(StringComparer.OrdinalIgnoreCase)
    {
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    };

    // What is said anew here, or is nobody's word but a proxy's.
    private static readonly HashSet<string> OwnWords = new(StringComparer.OrdinalIgnoreCase)
    {
        "Host",
        "Content-Length",
        "Expect",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
        "X-Original-For",
        "X-Real-IP",
        Via,
    };

    /// <summary>Copies a client's headers, and says through whom and for whom the request comes.</summary>
    /// <param name="self">This server, as it calls itself in <c>Via</c>.</param>
    public static void ToBehind(HttpContext http, HttpRequestMessage request, string self)
    {
        var named = Named(http.Request.Headers.Connection);
        foreach (var (name, values) in http.Request.Headers)
        {
            if (HopByHop.Contains(name) || OwnWords.Contains(name) || named.Contains(name))
            {
                continue;
            }

            var sent = request.Headers.TryAddWithoutValidation(name, (IEnumerable<string?>)values);
            if (!sent && request.Content is { } content)
            {
                content.Headers.Remove(name);
                content.Headers.TryAddWithoutValidation(name, (IEnumerable<string?>)values);
            }
        }

        Introduce(http, request, self);
    }

    /// <summary>
    /// Says through whom and for whom a request comes: who takes its peer for a user of its own machine must not take this
    /// server for the client.
    /// </summary>
    public static void Introduce(HttpContext http, HttpRequestMessage request, string self)
    {
        request.Headers.TryAddWithoutValidation(Via, [.. http.Request.Headers[Via], $"1.1 {self}"]);
        if (http.Connection.RemoteIpAddress is { } address)
        {
            request.Headers.TryAddWithoutValidation("X-Forwarded-For", address.ToString());
        }
    }

    /// <summary>Whether a request has come through this server already.</summary>
    public static bool IsLoop(HttpContext http, string self) =>
        http.Request.Headers[Via].Any(value => value?.Contains(self, StringComparison.Ordinal) is true);

    /// <summary>Copies the headers of an answer.</summary>
    /// <param name="origin">By which address the client calls this registry.</param>
    public static void ToClient(HttpResponseMessage answer, HttpResponse response, Uri behind, string origin)
    {
        var named = Named(new StringValues([.. answer.Headers.Connection]));
        Copy(answer.Headers);
        Copy(answer.Content.Headers);
        if (answer.Headers.NonValidated.TryGetValues("Location", out var location))
        {
            response.Headers.Location = Location((int)answer.StatusCode, location.ToString(), behind, origin);
        }

        if (answer.Headers.NonValidated.TryGetValues("Link", out var links))
        {
            // Of pages; in <>, so that nothing else in it begins so.
            response.Headers.Link = new StringValues([
                .. links.Select(link => link.Replace($"<{Origin(behind)}/v2/", "</v2/", StringComparison.Ordinal)),
            ]);
        }

        void Copy(HttpHeaders headers)
        {
            foreach (var (name, values) in headers.NonValidated)
            {
                if (!HopByHop.Contains(name) && !named.Contains(name) && name != "X-Request-Id")
                {
                    response.Headers[name] = new StringValues([.. values.Select(Ascii)]);
                }
            }
        }
    }

    /// <summary>
    /// Where a client is to go. What a push has made, and where its upload goes on, is in the registry, whatever that calls
    /// itself; a redirect to somewhere else is followed there.
    /// </summary>
    internal static string Location(int status, string location, Uri behind, string origin)
    {
        var isRedirect = status is >= 300 and < 400;
        return
            RegistryAddress.ApiPath(location) is { } path
            && (!isRedirect || Origin(new Uri(location)) == Origin(behind))
            ? origin + path
            : location;
    }

    private static string Origin(Uri url) => url.GetLeftPart(UriPartial.Authority);

    private static HashSet<string> Named(StringValues connection) =>
        connection
            .SelectMany(value => (value ?? "").Split(',', StringSplitOptions.TrimEntries))
            .ToHashSet(StringComparer.OrdinalIgnoreCase);

    // Kestrel sends nothing else.
    private static string Ascii(string value) =>
        value.All(c => c is >= ' ' and <= '~' or '\t')
            ? value
            : string.Concat(value.Select(c => c is >= ' ' and <= '~' or '\t' ? c : '?'));
}
