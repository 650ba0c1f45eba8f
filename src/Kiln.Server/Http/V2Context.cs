using System.Globalization;
using Kiln.Oci;
using Kiln.Server.Access;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>One request under <c>/v2/</c>, with what its path named.</summary>
internal sealed class V2Context(
    HttpContext http,
    Caller caller,
    RepositoryName? repository,
    IReadOnlyList<string> parameters
)
{
    /// <summary>Entries of one page at most; who asks for more gets this many and a link to the next.</summary>
    public const int MaxPage = 10_000;

    public HttpContext Http { get; } = http;
    public HttpRequest Request => Http.Request;
    public HttpResponse Response => Http.Response;
    public CancellationToken Cancel => Http.RequestAborted;

    /// <summary>The repository of the path; a bug where the route has none.</summary>
    public RepositoryName Repository { get; } = repository!;

    /// <summary>The path's parameters after the name, in order.</summary>
    public string this[int index] => parameters[index];

    public bool IsHead => HttpMethods.IsHead(Request.Method);

    /// <summary>Who asks, and what they may.</summary>
    public Caller Caller { get; } = caller;
    public Principal Principal => Caller.Principal;

    /// <summary>A parameter of the query, the first of that name; null where there is none.</summary>
    /// <exception cref="OciException"><c>UNSUPPORTED</c>, 400: it has control characters, which no name here has.</exception>
    public string? Query(string name)
    {
        if (!Request.Query.TryGetValue(name, out var values))
        {
            return null;
        }

        var value = values[0] ?? "";
        return value.Any(char.IsControl)
            ? throw new OciException(
                ErrorCodes.ParameterInvalid,
                $"the parameter '{name}' has control characters; remove them"
            )
            : value;
    }

    /// <summary>
    /// Answers <c>OCI-Namespace</c> where the client names the registry that it wants to pull from (<c>ns</c>) and it is this
    /// one. Another registry's content is nothing that is stored here, so that its name is not confirmed
    /// (distribution-spec, "Registry Proxying").
    /// </summary>
    public void AnswerNamespace()
    {
        if (
            Query("ns") is { Length: > 0 } wanted
            && string.Equals(wanted, Request.Host.Value, StringComparison.OrdinalIgnoreCase)
        )
        {
            Response.Headers["OCI-Namespace"] = wanted;
        }
    }

    /// <summary>The query's <c>n</c>: how many entries the client wants at most; null where it does not say.</summary>
    /// <exception cref="OciException"><c>PAGINATION_NUMBER_INVALID</c>, 400.</exception>
    public int? PageSize() =>
        Query("n") is not { } text ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var n)
            ? (int)Math.Min(n, int.MaxValue)
        : throw new OciException(
            ErrorCodes.PaginationInvalid,
            $"n is '{Shorten(text)}'; it must be a whole number, 0 or more"
        );

    /// <summary>The digest at parameter <paramref name="index"/>.</summary>
    /// <exception cref="OciException"><c>DIGEST_INVALID</c>, 400.</exception>
    public Digest DigestAt(int index) => ParseDigest(parameters[index]);

    /// <exception cref="OciException"><c>DIGEST_INVALID</c>, 400.</exception>
    public static Digest ParseDigest(string text) =>
        Digest.Parse(text, out var digest) switch
        {
            DigestFault.None => digest!,
            DigestFault.UnsupportedAlgorithm => throw new OciException(
                ErrorCodes.DigestInvalid,
                $"the digest '{Shorten(text)}' uses an algorithm that this registry does not support; use sha256 or sha512"
            ),
            _ => throw new OciException(
                ErrorCodes.DigestInvalid,
                $"'{Shorten(text)}' is not a digest; write sha256: and 64, or sha512: and 128, lower-case hexadecimal digits"
            ),
        };

    public static string Shorten(string text) => text.Length <= 100 ? text : text[..100] + "…";
}
