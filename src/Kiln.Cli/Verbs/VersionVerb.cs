using System.CommandLine;
using System.Reflection;
using System.Runtime.InteropServices;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln version</c>.</summary>
internal static class VersionVerb
{
    public static Command Create(Shell shell)
    {
        var command = new Command("version", "Show the version of this program.");
        command.SetAction(_ => shell.Out.WriteLine($"kiln {Version} ({RuntimeInformation.RuntimeIdentifier})"));
        return command;
    }

    private static string Version =>
        typeof(VersionVerb).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion
        ?? "unknown";
}
