namespace Kiln.Conformance.Reports;

/// <summary>A run as lines of text.</summary>
public static class TextReport
{
    /// <summary>One result on a line, and its reason below.</summary>
    public static string Line(CheckResult result)
    {
        var line = $"{Word(result.Outcome), -11} {result.Check.Id, -34} {result.Check.Title}";
        return result.Reason is null ? line : $"{line}\n            {result.Reason.ReplaceLineEndings(" ")}";
    }

    /// <summary>How many came out how, in one line.</summary>
    public static string Sum(IReadOnlyList<CheckResult> results) =>
        string.Join(
            ", ",
            Enum.GetValues<Outcome>()
                .Select(outcome => $"{results.Count(result => result.Outcome == outcome)} {Word(outcome)}")
        );

    /// <summary>The checks that there are: id, requirements, what has to be so.</summary>
    public static IEnumerable<string> List(IEnumerable<Check> checks) =>
        checks.Select(check => $"{check.Id, -34} {string.Join(' ', check.Requirements), -12} {check.Title}");

    internal static string Word(Outcome outcome) =>
        outcome switch
        {
            Outcome.Pass => "pass",
            Outcome.Fail => "FAIL",
            Outcome.Unsupported => "unsupported",
            _ => "skipped",
        };
}
