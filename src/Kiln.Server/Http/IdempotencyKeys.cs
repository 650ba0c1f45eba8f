using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Server.Http;

/// <summary>The <c>Idempotency-Key</c> of a request, by which it can be sent again without being done again.</summary>
internal static partial class IdempotencyKeys
{
    /// <summary>The key, and a hash of what it stands for; null where the request brings none.</summary>
    /// <param name="request">The request's meaning as a text; the path's repository belongs to it by itself.</param>
    /// <exception cref="OciException"><c>BUILD_REQUEST_INVALID</c>.</exception>
    public static (string Key, string Hash)? Read(V2Context context, string request)
    {
        if (context.Request.Headers["Idempotency-Key"].ToString() is not { Length: > 0 } key)
        {
            return null;
        }

        if (!Form().IsMatch(key))
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                "an Idempotency-Key has up to 128 visible characters; use a new random one for each request"
            );
        }

        var text = context.Repository?.Value + request;
        return (key, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))));
    }

    [GeneratedRegex(@"\A[\x21-\x7e]{1,128}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Form();
}
