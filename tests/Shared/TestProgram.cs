using System.Diagnostics;

namespace Kiln.TestPrograms;

/// <summary>
/// A program of the machine that tests need beside them, run by a shell script as an ordinary user. The script says
/// <c>ready WORDS</c> when the program has what it needs, and ends it and cleans up when its own input ends: that is when
/// it is disposed of, and also when the test run dies.
/// </summary>
internal sealed class TestProgram : IDisposable
{
    private const int StartSeconds = 180;
    private readonly Process _process;

    private TestProgram(Process process, string words) => (_process, Words) = (process, words);

    /// <summary>What the script said after <c>ready</c>.</summary>
    public string Words { get; }

    /// <summary>Starts a script of POSIX sh.</summary>
    /// <param name="asSelf">As the user of this run, root too: where the program has to read what that user has.</param>
    /// <param name="environment">Variables as <c>NAME=value</c>; nothing else of ours is there but <c>PATH</c>.</param>
    public static TestProgram Start(string script, bool asSelf, params IReadOnlyList<string> environment)
    {
        string[] become =
            Environment.IsPrivilegedProcess && !asSelf
                ? ["setpriv", "--reuid", User, "--regid", User, "--init-groups"]
                : [];
        string[] words =
        [
            .. become,
            "env",
            "-i",
            $"PATH={Environment.GetEnvironmentVariable("PATH")}",
            "LANG=C.UTF-8",
            .. environment,
            "sh",
            "-euc",
            script,
        ];
        var start = new ProcessStartInfo(words[0], words[1..])
        {
            WorkingDirectory = "/",
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var line = process.StandardOutput.ReadLineAsync();
        if (
            !line.Wait(TimeSpan.FromSeconds(StartSeconds))
            || line.Result?.StartsWith("ready ", StringComparison.Ordinal) != true
        )
        {
            process.StandardInput.Close();
            process.WaitForExit(TimeSpan.FromSeconds(StartSeconds));
            throw new InvalidOperationException(
                $"a program that the tests need does not start: {line.Result} {error.Result}"
            );
        }

        // Whatever else it says is of no interest, but has to go somewhere.
        _ = process.StandardOutput.ReadToEndAsync();
        return new TestProgram(process, line.Result["ready ".Length..]);
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit(TimeSpan.FromSeconds(StartSeconds));
        _process.Dispose();
    }

    // PostgreSQL refuses to be root.
    private static string User =>
        Environment.GetEnvironmentVariable("KILN_TEST_USER") is { Length: > 0 } user ? user : "postgres";
}
