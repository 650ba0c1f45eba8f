using System.Diagnostics;

namespace Kiln.Node.Sandbox;

/// <summary>The other programs of the machine. Arguments are never secrets: everybody can read them in /proc.</summary>
internal static class Programs
{
    private const string SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>The path of an installed program, or null.</summary>
    public static string? Find(string name) =>
        SearchPath
            .Split(':')
            .Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':'))
            .Where(d => d.Length > 0)
            .Select(d => Path.Combine(d, name))
            .FirstOrDefault(File.Exists);

    /// <summary>Runs a program to its end and returns its exit code and all that it printed.</summary>
    public static async Task<(int Code, string Output)> RunAsync(
        string program,
        IReadOnlyList<string> arguments,
        CancellationToken cancel
    )
    {
        using var process = new Process { StartInfo = Start(program, arguments) };
        process.Start();
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync(cancel);
        var errors = process.StandardError.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);
        return (process.ExitCode, await output + await errors);
    }

    /// <summary>How programs are started: a bare environment, all three streams in our hands.</summary>
    public static ProcessStartInfo Start(string program, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(
            Find(program) ?? throw new SandboxException($"the program '{program}' is not installed")
        )
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            WorkingDirectory = "/",
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment.Clear();
        start.Environment["PATH"] = SearchPath;
        start.Environment["LANG"] = "C.UTF-8";
        start.Environment["HOME"] = "/";
        // buildah of Debian 13 does not even say its version without a place for a user's settings.
        start.Environment["XDG_CONFIG_HOME"] = "/etc";
        return start;
    }
}
