using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>One request under <c>/v2/</c>, with what its path named.</summary>
internal sealed class V2Context(HttpContext http, RepositoryName? repository, IReadOnlyList<string> parameters)
{
    public HttpContext Http { get; } = http;
    public HttpRequest Request => Http.Request;
    public HttpResponse Response => Http.Response;
    public CancellationToken Cancel => Http.RequestAborted;

    /// <summary>The repository of the path; a bug where the route has none.</summary>
    public RepositoryName Repository { get; } = repository!;

    /// <summary>The path's parameters after the name, in order.</summary>
    public string this[int index] => parameters[index];

    public bool IsHead => HttpMethods.IsHead(Request.Method);

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
