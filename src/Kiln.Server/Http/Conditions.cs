using Kiln.Oci;
using Kiln.Server.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Kiln.Server.Http;

/// <summary>
/// Conditional requests (RFC 9110, 13). An entity tag is a digest in quotes: content that its digest names is strongly
/// validated by it.
/// </summary>
internal static class Conditions
{
    /// <summary>The entity tag of content that its digest names.</summary>
    public static string EntityTag(Digest digest) => $"\"{digest}\"";

    /// <summary>
    /// Sets the <c>ETag</c>, and answers 304 where the client has these bytes (13.1.2: tags are compared weakly, and
    /// <c>*</c> is any).
    /// </summary>
    /// <returns>True when the answer is complete.</returns>
    public static bool IsNotModified(this V2Context context, Digest digest)
    {
        context.Response.Headers.ETag = EntityTag(digest);
        if (Parse(context.Request.Headers.IfNoneMatch, weak: true)?.Contains(digest.ToString()) != true)
        {
            return false;
        }

        context.Response.StatusCode = StatusCodes.Status304NotModified;
        return true;
    }

    /// <summary>What a push or delete depends on; null where it depends on nothing.</summary>
    public static Precondition? Precondition(this V2Context context)
    {
        var headers = context.Request.Headers;
        var match = Parse(headers.IfMatch, weak: false);
        var noneMatch = Parse(headers.IfNoneMatch, weak: true);
        return match is null && noneMatch is null ? null : new Precondition(match, noneMatch);
    }

    // 13.1.1: If-Match compares strongly, so that a weak tag never matches.
    private static EntityTags? Parse(StringValues values, bool weak)
    {
        if (values.Count == 0)
        {
            return null;
        }

        var digests = new List<string>();
        foreach (var entry in values.SelectMany(value => (value ?? "").Split(',', StringSplitOptions.TrimEntries)))
        {
            if (entry == "*")
            {
                return new EntityTags(Any: true, []);
            }

            var tag = weak && entry.StartsWith("W/", StringComparison.Ordinal) ? entry[2..] : entry;
            if (tag.Length > 2 && tag[0] == '"' && tag[^1] == '"')
            {
                digests.Add(tag[1..^1]);
            }
        }

        return new EntityTags(Any: false, digests);
    }
}
