using System.Globalization;
using System.Text.RegularExpressions;
using Kiln.Node.Engines.Buildah;

namespace Kiln.Node.Engines.Apptainer;

/// <summary>
/// Makes Apptainer's own messages the beginnings of steps. A <c>%post</c> can print such lines too; a step is believed only where it
/// is the one that comes next.
/// </summary>
internal sealed partial class ApptainerLines(IReadOnlyList<PlannedStep> steps)
{
    private const string Fatal = "FATAL:";
    private int _stage = 1;
    private bool _copying;

    /// <summary>What Apptainer has said of its end; null where it said nothing.</summary>
    public ToldFailure? Failure { get; private set; }

    public string Translate(string line)
    {
        var text = line.TrimEnd('\n', '\r');
        if (steps.FirstOrDefault(s => s.Line == text) is { } begun)
        {
            (_stage, _copying) = (begun.Stage, false);
            return line;
        }

        if (text.StartsWith(Fatal, StringComparison.Ordinal))
        {
            Failure = new ToldFailure(
                text[Fatal.Length..].Trim(),
                Exit().Match(text) is { Success: true } exit
                    ? int.Parse(exit.Groups["code"].Value, CultureInfo.InvariantCulture)
                    : null
            );
        }

        var section = Message().Match(text) switch
        {
            { Success: true } match when match.Groups["post"].Success => "post",
            { Success: true } match when match.Groups["test"].Success => "test",
            { Success: true } when !_copying => "files",
            _ => null,
        };
        if (section is null || steps.FirstOrDefault(s => s.Stage == _stage && s.Section == section) is not { } step)
        {
            return line;
        }

        _copying = section == "files";
        return step.Line + "\n";
    }

    [GeneratedRegex(
        "^INFO:    (?:(?<post>Running post scriptlet)|(?<test>Running testscript)|(?<files>Copying .*))$",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Message();

    [GeneratedRegex(@"exit status (?<code>\d{1,3})$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Exit();
}
