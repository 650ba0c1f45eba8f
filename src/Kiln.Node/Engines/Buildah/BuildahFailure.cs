using Kiln.BuildSpec;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Engines.Buildah;

/// <summary>What an engine said of a build's end.</summary>
/// <param name="Error">The cause.</param>
/// <param name="ExitCode">The exit code of the recipe's own script that failed; null where it was something else.</param>
internal sealed record ToldFailure(string Error, int? ExitCode);

/// <summary>Turns a buildah run that did not succeed into a result that helps.</summary>
internal static class BuildahFailure
{
    private const int TailLines = 10;

    // What the kernel's kill of the whole jail looks like from outside.
    private const int Killed = 137;
    private const int Terminated = 143;

    // 128 and SIGXFSZ: a file that would have become larger than one may. A script that ends with this of its own accord is
    // told the wrong thing; none has a reason to.
    private const int FileTooLarge = 153;

    // buildah copies itself into a sealed memfd before it enters a RUN's namespaces. The kernel refuses the seal with EBUSY
    // while anything else (page migration, reclaim) holds a page of it, which passes, and has nothing to do with the recipe.
    private static readonly string[] _notStarted = ["Close_Fd sealing memfd copy: ", "Error sealing memfd copy: "];

    /// <param name="told">What another engine than buildah said of the end.</param>
    public static EngineResult Explain(JailExit exit, BuildahOutput output, ToldFailure? told = null)
    {
        if (exit.Exceeded is { } limit)
        {
            return Result(FailureReasons.LimitExceeded, $"{limit}; it was ended{At(output)}", null, output);
        }

        // A script's own 'exit 137' is no kill: whoever tells of an error was not killed.
        if (exit.Code is Killed or Terminated && output.Error is null && told is null)
        {
            return Result(
                FailureReasons.SystemError,
                $"the build's processes were killed from outside{At(output)}",
                null,
                output
            );
        }

        var error = told?.Error ?? output.Error ?? "";
        if (error.Contains("no space left on device", StringComparison.Ordinal))
        {
            return Result(FailureReasons.SystemError, $"the build node's disk is full{At(output)}", null, output);
        }

        if (NotStarted(output) is { } line)
        {
            return Result(FailureReasons.SystemError, $"the engine could not start{At(output)}: {line}", null, output);
        }

        var code = told?.ExitCode ?? exit.Code;
        if (code == FileTooLarge || error.EndsWith("file too large", StringComparison.Ordinal) || IsTooLarge(output))
        {
            var most = LimitWatcher.Size(exit.FileBytes);
            var what = $"a file became larger than {most}{At(output)}; a build may write no more to its disk here";
            return Result(FailureReasons.LimitExceeded, what, null, output);
        }

        var ran = told is null
            ? error.Contains("building at STEP \"RUN", StringComparison.Ordinal) || exit.Code != 125
            : told.ExitCode is not null;
        return ran
            ? Result(FailureReasons.RecipeError, $"{Step(output)} exited with {code}", code, output)
            : Result(FailureReasons.RecipeError, $"{Step(output)} failed: {Short(error)}", code, output);
    }

    private static EngineResult Result(string reason, string what, int? code, BuildahOutput output)
    {
        var tail = output.Tail.TakeLast(TailLines).ToList();
        var message = tail.Count == 0 ? what : $"{what}; the log ends with:\n{string.Join('\n', tail)}";
        return new EngineResult
        {
            Reason = reason,
            Message = message,
            ExitCode = code,
            Steps = output.Steps,
        };
    }

    // A recipe that prints such a line as its last word and fails is only tried again, as often as any other system error.
    private static string? NotStarted(BuildahOutput output)
    {
        var last = output.Tail.LastOrDefault(l =>
            !l.StartsWith("Error: ", StringComparison.Ordinal)
            && !l.StartsWith("subprocess exited with status ", StringComparison.Ordinal)
        );
        return last is not null && _notStarted.Any(n => last.StartsWith(n, StringComparison.Ordinal)) ? last : null;
    }

    // Where no shell stands between, buildah ends with 1, and says in a line before what the step died of.
    private static bool IsTooLarge(BuildahOutput output) =>
        output
            .Tail.TakeLast(TailLines)
            .Contains("subprocess exited on file size limit exceeded", StringComparer.Ordinal);

    private static string Step(BuildahOutput output) =>
        output.Steps is [.., var last] ? $"step {last.Number}/{last.Total} ({last.Text})" : "the recipe";

    private static string At(BuildahOutput output) => output.Steps.Count == 0 ? "" : " in " + Step(output);

    // buildah wraps the cause in what it was doing: building at STEP "…": cause.
    private static string Short(string error)
    {
        var end = error.LastIndexOf("\": ", StringComparison.Ordinal);
        return error.StartsWith("building at STEP", StringComparison.Ordinal) && end > 0 ? error[(end + 3)..] : error;
    }
}
