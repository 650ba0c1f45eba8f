using System.Diagnostics;
using System.Text;
using Kiln.EndToEnd.Harness;
using Xunit.Sdk;
using Xunit.v3;

[assembly: AssemblyFixture(typeof(Machine))]
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace Kiln.EndToEnd.Harness;

/// <summary>
/// What all tests of one run share: the ordinary user that servers, builds and clients run as, the program under test, and
/// a directory of that user which is removed at the end.
/// </summary>
public sealed class Machine : IDisposable
{
    private const int CommandSeconds = 300;

    public Machine()
    {
        Source = FindSource();
        User = Environment.GetEnvironmentVariable("KILN_TEST_USER") is { Length: > 0 } user
            ? user
            : Environment.UserName;
        IsOther = User != Environment.UserName;
        Directory = $"/var/tmp/kiln-e2e-{Environment.ProcessId}";
        System.IO.Directory.CreateDirectory(Directory);
        if (IsOther)
            Shell("chown", User, Directory).Ok();
        RunAsUser("mkdir", "-p", In("home"), In("run"), In("bin")).Ok();
        RunAsUser("chmod", "700", In("run")).Ok();
        CopyForUser(Path.Combine(Source, "eng"), Directory);
        CopyForUser(Path.Combine(Source, "samples"), Directory);
        Native = PlaceNative();
        Kiln = Native is null ? PlaceManaged() : [Native];
    }

    /// <summary>The checkout.</summary>
    public string Source { get; }

    /// <summary>The ordinary user; the one who runs the tests, unless that is root.</summary>
    public string User { get; }

    /// <summary>Whether the user has subordinate ids, and with them files of more owners than itself.</summary>
    public bool HasRange =>
        File.Exists("/etc/subuid")
        && File.ReadLines("/etc/subuid").Any(line => line.StartsWith(User + ":", StringComparison.Ordinal));

    public string Directory { get; }

    /// <summary>The native file that is under test, in its place for the ordinary user; null where it is the one built here.</summary>
    public string? Native { get; }

    /// <summary>The program under test, as the first words of a command.</summary>
    public IReadOnlyList<string> Kiln { get; }

    /// <summary>Whether that user is another than who runs the tests, who then is root.</summary>
    public bool IsOther { get; }

    public string In(params string[] parts) => Path.Combine([Directory, .. parts]);

    /// <summary>Runs a program as the ordinary user, with an environment of its own, and waits for its end.</summary>
    public Outcome RunAsUser(params string[] command) => RunToEnd(AsUser(command));

    /// <summary>Runs <c>kiln</c> with these arguments as the ordinary user.</summary>
    public Outcome RunKiln(params string[] arguments) => RunAsUser([.. Kiln, .. arguments]);

    /// <summary>How to start a program as the ordinary user.</summary>
    public ProcessStartInfo AsUser(params string[] command)
    {
        string[] environment =
        [
            $"HOME={In("home")}",
            $"USER={User}",
            $"LOGNAME={User}",
            $"XDG_RUNTIME_DIR={In("run")}",
            $"TMPDIR={In()}",
            $"PATH={Environment.GetEnvironmentVariable("PATH")}",
            "LANG=C.UTF-8",
            "DOTNET_NOLOGO=1",
        ];
        string[] become = IsOther ? ["setpriv", "--reuid", User, "--regid", User, "--init-groups"] : [];
        string[] words = [.. become, "env", "-i", .. environment, .. command];
        return Quiet(words, Directory);
    }

    /// <summary>Writes a file that the ordinary user owns.</summary>
    public string WriteFile(string content, params string[] parts)
    {
        var path = In(parts);
        RunAsUser("mkdir", "-p", Path.GetDirectoryName(path)!).Ok();
        File.WriteAllText(path, content);
        if (IsOther)
            Shell("chown", User, path).Ok();
        return path;
    }

    /// <summary>Skips the test, with a reason, when a program is missing.</summary>
    public void Needs(string program)
    {
        if (RunAsUser("sh", "-c", $"command -v {program}").ExitCode != 0)
            Assert.Skip($"NOT RUN: '{program}' is not on this machine (./check says where it comes from)");
    }

    /// <summary>Skips the test, with a reason, where the program under test is not the native file.</summary>
    public void NeedsNative()
    {
        if (Native is null)
            Assert.Skip("NOT RUN: KILN_NATIVE names no native file (.ci/run publishes it)");
    }

    public void Dispose()
    {
        // Rootless podman leaves a process that holds its namespaces.
        RunAsUser("sh", "-c", "for f in $(find . -name pause.pid); do kill \"$(cat \"$f\")\"; done");
        // Files of builds belong to the user's subordinate ids.
        if (IsOther)
            Shell("rm", "-rf", "--one-file-system", Directory);
        else
            Shell("unshare", "--map-root-user", "--map-auto", "rm", "-rf", "--one-file-system", Directory);
    }

    /// <summary>Runs a command as root, where <see cref="IsOther"/>.</summary>
    public static Outcome RunAsRoot(params string[] words) => Shell(words);

    private static Outcome Shell(params string[] words) => RunToEnd(Quiet(words, "/"));

    private static ProcessStartInfo Quiet(string[] words, string directory) =>
        new(words[0], words[1..])
        {
            WorkingDirectory = directory,
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

    private static Outcome RunToEnd(ProcessStartInfo start)
    {
        var text = string.Join(' ', start.ArgumentList.Prepend(start.FileName));
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(TimeSpan.FromSeconds(CommandSeconds)))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"'{text}' did not end within {CommandSeconds} s");
        }
        return new Outcome(text, process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    /// <summary>The user may not be able to read the checkout, or the folder that the program was published to.</summary>
    private string? PlaceNative()
    {
        if (Environment.GetEnvironmentVariable("KILN_NATIVE") is not { Length: > 0 } native)
            return null;
        CopyForUser(native, In("bin"));
        return In("bin", Path.GetFileName(native));
    }

    private string[] PlaceManaged()
    {
        CopyForUser(Path.Combine(Source, "artifacts/bin/Kiln.Cli/debug"), In("bin"));
        return ["dotnet", In("bin/debug/kiln.dll")];
    }

    private void CopyForUser(string from, string into)
    {
        Shell("cp", "-r", from, into).Ok();
        if (IsOther)
            Shell("chown", "-R", User, Path.Combine(into, Path.GetFileName(from))).Ok();
    }

    private static string FindSource()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "kiln.slnx")))
            directory =
                Path.GetDirectoryName(directory) ?? throw new InvalidOperationException("No kiln.slnx above the tests");
        return directory;
    }
}

/// <summary>How a program ended.</summary>
public sealed record Outcome(string Command, int ExitCode, string Output, string Error)
{
    /// <summary>Fails the test, with everything the program said, unless it succeeded.</summary>
    public Outcome Ok() => Exits(0);

    public Outcome Exits(int code)
    {
        if (ExitCode != code)
            Assert.Fail(
                new StringBuilder()
                    .AppendLine($"expected exit code {code}, got {ExitCode} from: {Command}")
                    .AppendLine(Output)
                    .AppendLine(Error)
                    .ToString()
            );
        return this;
    }
}
