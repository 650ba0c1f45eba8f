using System.Globalization;
using System.Text;
using System.Xml;

namespace Kiln.Conformance.Reports;

/// <summary>A run in the XML that CI systems read: a suite for each category; unsupported is skipped, with its reason.</summary>
public static class JUnitReport
{
    public static void Write(Stream target, IReadOnlyList<CheckResult> results)
    {
        using var xml = XmlWriter.Create(
            target,
            new XmlWriterSettings { Indent = true, Encoding = new UTF8Encoding(false) }
        );
        xml.WriteStartElement("testsuites");
        WriteCounts(xml, "kiln conformance", results);
        foreach (var suite in results.GroupBy(result => result.Check.Category, StringComparer.Ordinal))
        {
            xml.WriteStartElement("testsuite");
            WriteCounts(xml, suite.Key, [.. suite]);
            foreach (var result in suite)
            {
                WriteCase(xml, result);
            }

            xml.WriteEndElement();
        }

        xml.WriteEndElement();
    }

    private static void WriteCounts(XmlWriter xml, string name, IReadOnlyList<CheckResult> results)
    {
        xml.WriteAttributeString("name", name);
        xml.WriteAttributeString("tests", Number(results.Count));
        xml.WriteAttributeString("failures", Number(results.Count(r => r.Outcome == Outcome.Fail)));
        xml.WriteAttributeString(
            "skipped",
            Number(results.Count(r => r.Outcome is Outcome.Skipped or Outcome.Unsupported))
        );
        xml.WriteAttributeString("time", Seconds(results.Aggregate(TimeSpan.Zero, (sum, r) => sum + r.Duration)));
    }

    private static void WriteCase(XmlWriter xml, CheckResult result)
    {
        xml.WriteStartElement("testcase");
        xml.WriteAttributeString(
            "classname",
            $"{result.Check.Category} ({string.Join(' ', result.Check.Requirements)})"
        );
        xml.WriteAttributeString("name", $"{result.Check.Id}: {result.Check.Title}");
        xml.WriteAttributeString("time", Seconds(result.Duration));
        if (result.Outcome != Outcome.Pass)
        {
            xml.WriteStartElement(result.Outcome == Outcome.Fail ? "failure" : "skipped");
            var unsupported = result.Outcome == Outcome.Unsupported ? "unsupported: " : "";
            xml.WriteAttributeString("message", Plain(unsupported + result.Reason));
            if (result.Outcome == Outcome.Fail)
            {
                xml.WriteString(Plain(string.Join('\n', result.Exchanges)));
            }

            xml.WriteEndElement();
        }

        xml.WriteEndElement();
    }

    /// <summary>Without the characters that XML cannot have: what registries answer is anything.</summary>
    private static string Plain(string text) => string.Concat(text.Select(c => XmlConvert.IsXmlChar(c) ? c : '?'));

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Seconds(TimeSpan time) => time.TotalSeconds.ToString("F3", CultureInfo.InvariantCulture);
}
