using Kiln.BuildSpec;

namespace Kiln.Cli.Progress;

/// <summary>Tells from successive lists of steps which began and which ended.</summary>
internal sealed class StepTracker
{
    private readonly Dictionary<int, bool> _seen = [];

    /// <summary>The steps that are new, or newly ended, since the last call.</summary>
    public IEnumerable<(BuildStep Step, bool Ended)> Update(IReadOnlyList<BuildStep>? steps)
    {
        foreach (var step in steps ?? [])
        {
            var ended = step.Milliseconds is not null || step.Cached;
            if (!_seen.TryGetValue(step.Number, out var was) || (ended && !was))
            {
                _seen[step.Number] = ended;
                yield return (step, ended);
            }
        }
    }

    /// <summary><c>[3/9] RUN make</c>, and <c>… 2.1s</c> or <c>… cached</c> after it once it ended; one line, safe to show.</summary>
    public static string Text(BuildStep step)
    {
        var text = TerminalText.Escape(step.Text).Replace('\n', ' ').Replace('\t', ' ');
        var time =
            step.Cached ? " … cached"
            : step.Milliseconds is { } milliseconds ? $" … {Sizes.Text(TimeSpan.FromMilliseconds(milliseconds))}"
            : "";
        return $"[{step.Number}/{step.Total}] {text}{time}";
    }
}
