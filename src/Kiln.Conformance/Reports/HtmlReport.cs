using System.Globalization;
using System.Net;
using System.Text;

namespace Kiln.Conformance.Reports;

/// <summary>A run as one page without scripts: the sum, and each check with its requests.</summary>
public static class HtmlReport
{
    private const string Style = """
        body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
        table { border-collapse: collapse; width: 100% } td { border-top: 1px solid #ccc; padding: .3em .6em; vertical-align: top }
        .pass { color: #176b2c } .fail { color: #fff; background: #b3261e } .unsupported, .skipped { color: #666 }
        code, pre { font: 13px monospace } pre { margin: .3em 0; white-space: pre-wrap } summary { cursor: pointer }
        """;

    /// <param name="registry">The address that was looked at.</param>
    /// <param name="when">The run's beginning.</param>
    public static string Of(Uri registry, DateTimeOffset when, IReadOnlyList<CheckResult> results)
    {
        var page = new StringBuilder();
        page.Append(
            CultureInfo.InvariantCulture,
            $"""
            <!doctype html>
            <html lang="en">
            <meta charset="utf-8">
            <title>Conformance of {Text(registry.Authority)}</title>
            <style>
            {Style}
            </style>
            <h1>Conformance of {Text(registry.Authority)}</h1>
            <p>{when.UtcDateTime:yyyy-MM-dd HH:mm} UTC: {Text(TextReport.Sum(results))}</p>

            """
        );
        foreach (var category in results.GroupBy(result => result.Check.Category, StringComparer.Ordinal))
        {
            page.Append(CultureInfo.InvariantCulture, $"<h2>{Text(category.Key)}</h2>\n<table>\n");
            foreach (var result in category)
            {
                AppendRow(page, result);
            }

            page.Append("</table>\n");
        }

        return page.Append("</html>\n").ToString();
    }

    private static void AppendRow(StringBuilder page, CheckResult result)
    {
        var kind = result.Outcome.ToString().ToLowerInvariant();
        page.Append(
            CultureInfo.InvariantCulture,
            $"<tr><td><span class=\"{kind}\">{kind}</span><td><details><summary>{Text(result.Check.Title)}</summary>"
        );
        page.Append(CultureInfo.InvariantCulture, $"<pre>{Text(string.Join('\n', result.Exchanges))}</pre></details>");
        if (result.Reason is not null)
        {
            page.Append(CultureInfo.InvariantCulture, $"<div>{Text(result.Reason)}</div>");
        }

        page.Append(
            CultureInfo.InvariantCulture,
            $"<td><code>{Text(result.Check.Id)}</code><td>{Text(string.Join(' ', result.Check.Requirements))}</tr>\n"
        );
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);
}
