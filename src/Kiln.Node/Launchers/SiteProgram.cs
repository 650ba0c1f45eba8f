using System.Diagnostics;
using System.Text;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Launchers;

/// <summary>How a program of a batch system ended.</summary>
internal sealed record SiteAnswer(int Code, string Output, string Errors)
{
    /// <summary>What it said, on one line, for messages.</summary>
    public string Text => Sentence.Of(Errors.Trim().Length > 0 ? Errors : Output);
}

/// <summary>
/// Runs the programs of a batch system, as this user and with a bare environment: what an operator's shell had set must
/// not decide where jobs go.
/// </summary>
internal static class SiteProgram
{
    /// <summary>How long one may take; one that hangs says as little as one that fails.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private const int MaxBytes = 16 << 20;

    // Which cluster, and how to log in to it, is no matter of jobs.
    private static readonly string[] Kept =
    [
        "SLURM_CONF",
        "SLURM_JWT",
        "PBS_SERVER",
        "PBS_CONF_FILE",
        "LSF_ENVDIR",
        "LSF_SERVERDIR",
        "LSF_LIBDIR",
        "LSF_BINDIR",
        "FLUX_URI",
        "TS_SOCKET",
        "TMPDIR",
    ];

    /// <param name="command">The program and its arguments; never anything secret.</param>
    /// <param name="input">Its standard input; null for none.</param>
    /// <param name="variables">What else stands in its environment.</param>
    /// <exception cref="BatchAwayException">It did not end in time, or could not be started.</exception>
    public static async Task<SiteAnswer> RunAsync(
        IReadOnlyList<string> command,
        string? input,
        IReadOnlyDictionary<string, string> variables,
        CancellationToken cancel
    )
    {
        using var process = new Process { StartInfo = StartOf(command, variables) };
        try
        {
            process.Start();
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new BatchAwayException($"{command[0]} could not be started: {e.Message}");
        }

        using var late = new CancellationTokenSource(Patience);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, late.Token);
        try
        {
            var output = ReadAsync(process.StandardOutput, either.Token);
            var errors = ReadAsync(process.StandardError, either.Token);
            await WriteAsync(process, input, either.Token);
            await process.WaitForExitAsync(either.Token);
            return new SiteAnswer(process.ExitCode, await output, await errors);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            process.Kill(entireProcessTree: true);
            throw new BatchAwayException($"{command[0]} did not end within {Patience.TotalSeconds:0} s");
        }
    }

    private static ProcessStartInfo StartOf(
        IReadOnlyList<string> command,
        IReadOnlyDictionary<string, string> variables
    )
    {
        ProcessStartInfo start;
        try
        {
            start = Programs.Start(command[0], [.. command.Skip(1)]);
        }
        catch (SandboxException e)
        {
            throw new BatchAwayException(e.Message);
        }

        start.Environment["PATH"] += ":" + Environment.GetEnvironmentVariable("PATH");
        start.Environment["HOME"] = Environment.GetEnvironmentVariable("HOME") ?? "/";
        start.Environment["USER"] = start.Environment["LOGNAME"] = Environment.UserName;
        foreach (var name in Kept)
        {
            if (Environment.GetEnvironmentVariable(name) is { Length: > 0 } value)
            {
                start.Environment[name] = value;
            }
        }

        foreach (var (name, value) in variables)
        {
            start.Environment[name] = value;
        }

        return start;
    }

    private static async Task WriteAsync(Process process, string? input, CancellationToken cancel)
    {
        try
        {
            await process.StandardInput.WriteAsync((input ?? "").AsMemory(), cancel);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It did not want to know; what it says will tell why.
        }
    }

    private static async Task<string> ReadAsync(StreamReader from, CancellationToken cancel)
    {
        var text = new StringBuilder();
        var buffer = new char[1 << 14];
        while (await from.ReadAsync(buffer, cancel) is > 0 and var count)
        {
            // The rest is read and dropped, so that the program is not held up.
            text.Append(buffer, 0, Math.Min(count, Math.Max(0, MaxBytes - text.Length)));
        }

        return text.ToString();
    }
}
