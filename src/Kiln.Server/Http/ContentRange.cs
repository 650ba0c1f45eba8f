using System.Globalization;

namespace Kiln.Server.Http;

/// <summary>
/// The <c>Content-Range</c> of a chunk, <c>START-END</c> with both ends included (distribution-spec, "Pushing a blob in
/// chunks"). RFC 9110's form with <c>bytes</c> and a total is accepted too.
/// </summary>
internal sealed record ContentRange(long Start, long End)
{
    public long Length => End - Start + 1;

    public static ContentRange? Parse(string text)
    {
        var range = text.StartsWith("bytes ", StringComparison.OrdinalIgnoreCase) ? text["bytes ".Length..] : text;
        var slash = range.IndexOf('/', StringComparison.Ordinal);
        var ends = (slash < 0 ? range : range[..slash]).Split('-');
        return
            ends.Length == 2
            && long.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out var start)
            && long.TryParse(ends[1], NumberStyles.None, CultureInfo.InvariantCulture, out var end)
            && start <= end
            && end < long.MaxValue
            ? new ContentRange(start, end)
            : null;
    }
}
