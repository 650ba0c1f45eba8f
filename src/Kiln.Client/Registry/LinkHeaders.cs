using System.Text.RegularExpressions;

namespace Kiln.Client.Registry;

/// <summary>The parts of <c>Link</c> (RFC 8288) and <c>Warning</c> (RFC 7234, 5.5) that registries use.</summary>
internal static partial class LinkHeaders
{
    /// <summary>Targets by relation, the first of each.</summary>
    public static Dictionary<string, string> Links(HttpResponseMessage response)
    {
        var links = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var header in Values(response, "Link"))
        {
            foreach (Match match in LinkValue().Matches(header))
            {
                links.TryAdd(match.Groups["rel"].Value, match.Groups["target"].Value);
            }
        }

        return links;
    }

    /// <summary>Texts of <c>299 - "…"</c> warnings (distribution-spec, "Warnings").</summary>
    public static List<string> Warnings(HttpResponseMessage response) =>
        [
            .. Values(response, "Warning")
                .SelectMany(header => WarningValue().Matches(header))
                .Select(match => match.Groups["text"].Value.Replace("\\\"", "\"", StringComparison.Ordinal)),
        ];

    private static IEnumerable<string> Values(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) ? values : [];

    [GeneratedRegex("""<(?<target>[^>]*)>[^,<]*?;\s*rel="?(?<rel>[^";,\s]+)"?""", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex LinkValue();

    [GeneratedRegex("""299\s+\S+\s+"(?<text>(?:[^"\\]|\\.)*)"?""", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex WarningValue();
}
