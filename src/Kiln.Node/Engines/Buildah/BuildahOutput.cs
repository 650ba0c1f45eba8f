using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Reads buildah's text for steps and passes everything on as the log. A RUN can print lines that look like buildah's;
/// a step is believed only where it is the one that comes next, so all that can be faked is that step's own end.
/// </summary>
internal sealed partial class BuildahOutput
{
    private const int TailLines = 20;
    private readonly IBuildListener _listener;
    private readonly List<(int Stage, int InStage, string Text)> _expected;
    private readonly List<byte> _line = [];
    private readonly Queue<string> _tail = new();
    private readonly Func<string, string> _display;
    private readonly Stopwatch _watch = new();
    private readonly List<BuildStep> _steps = [];
    private int _current = -1;

    /// <param name="steps">The steps that will come, by the numbers of their stage and in it, counted from 1.</param>
    /// <param name="listener">Hears steps and log.</param>
    /// <param name="display">Puts the recipe's own names back into a line.</param>
    public BuildahOutput(
        IEnumerable<(int Stage, int InStage, string Text)> steps,
        IBuildListener listener,
        Func<string, string> display
    )
    {
        _listener = listener;
        _display = display;
        _expected = [.. steps.Select(s => (s.Stage, s.InStage, Shorten(s.Text)))];
    }

    /// <summary>The steps of a Dockerfile up to the stage that is built.</summary>
    public static IEnumerable<(int Stage, int InStage, string Text)> StepsOf(Dockerfile file, int lastStage) =>
        file
            .Stages.Take(lastStage + 1)
            .SelectMany(
                (stage, number) =>
                    stage.Instructions.Prepend(stage.From).Select((step, i) => (number + 1, i + 1, step.Raw))
            );

    /// <summary>The steps so far.</summary>
    public IReadOnlyList<BuildStep> Steps => _steps;

    /// <summary>The last lines of the log.</summary>
    public IReadOnlyCollection<string> Tail => _tail;

    /// <summary>The last line that starts with <c>Error:</c>, without that word.</summary>
    public string? Error { get; private set; }

    public void Add(ReadOnlySpan<byte> text)
    {
        foreach (var b in text)
        {
            _line.Add(b);
            if (b == '\n' || _line.Count >= 16 << 10)
            {
                Flush();
            }
        }
    }

    /// <summary>Passes on an unfinished last line and closes the last step.</summary>
    public void End(bool succeeded)
    {
        if (_line.Count > 0)
        {
            _line.Add((byte)'\n');
            Flush();
        }

        if (succeeded)
        {
            FinishStep();
        }
    }

    private void Flush()
    {
        var line = _display(Encoding.UTF8.GetString([.. _line]));
        _line.Clear();
        var text = line.TrimEnd('\n', '\r');
        if (StepLine().Match(text) is { Success: true } match && Next(match) is { } next)
        {
            if (match.Index > 0)
            {
                // The step before printed no line end.
                Pass(text[..match.Index] + "\n");
            }

            BeginStep(next);
            line = $"STEP {next + 1}/{_expected.Count}: {_expected[next].Text}\n";
        }
        else if (text.StartsWith("--> Using cache", StringComparison.Ordinal) && _steps.Count > 0)
        {
            _steps[^1] = _steps[^1] with { Cached = true };
            line = "--> cached\n";
        }
        else if (text.StartsWith("Error: ", StringComparison.Ordinal))
        {
            Error = text["Error: ".Length..];
        }

        Pass(line);
    }

    private void Pass(string line)
    {
        Remember(line.TrimEnd('\n', '\r'));
        _listener.Log(Encoding.UTF8.GetBytes(line));
    }

    private void Remember(string line)
    {
        if (line.Length == 0)
        {
            return;
        }

        _tail.Enqueue(line.Length <= 500 ? line : line[..500] + "…");
        if (_tail.Count > TailLines)
        {
            _tail.Dequeue();
        }
    }

    // The index of the step that a line begins; null where another one comes next. Stages that are not needed are skipped.
    private int? Next(Match match)
    {
        var stage = match.Groups["stage"].Success ? Number(match, "stage") : 1;
        var step = Number(match, "step");
        var index = _expected.FindIndex(_current + 1, e => e.Stage == stage && e.InStage == step);
        return index >= 0 && (step == 1 || index == _current + 1) ? index : null;
    }

    private void BeginStep(int index)
    {
        FinishStep();
        _current = index;
        _steps.Add(
            new BuildStep
            {
                Number = index + 1,
                Total = _expected.Count,
                Text = _expected[index].Text,
            }
        );
        _watch.Restart();
        _listener.Step(_steps[^1]);
    }

    private void FinishStep()
    {
        if (_steps.Count == 0 || _steps[^1].Milliseconds is not null)
        {
            return;
        }

        _steps[^1] = _steps[^1] with { Milliseconds = _watch.ElapsedMilliseconds };
        _listener.Step(_steps[^1]);
    }

    private static string Shorten(string step)
    {
        var text = step.ReplaceLineEndings(" ").Trim();
        return text.Length <= 200 ? text : text[..199] + "…";
    }

    private static int Number(Match match, string group) =>
        int.TryParse(match.Groups[group].ValueSpan, CultureInfo.InvariantCulture, out var number) ? number : 0;

    // "STEP 3/9: RUN make", or "[1/2] STEP 3/9: RUN make" where there are several stages.
    [GeneratedRegex(
        @"^(\[(?<stage>\d{1,4})/\d{1,4}\] )?STEP (?<step>\d{1,5})/\d{1,5}: ",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex StepLine();
}
