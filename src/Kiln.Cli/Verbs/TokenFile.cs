using System.Text;
using Kiln.Client;

namespace Kiln.Cli.Verbs;

/// <summary>The file with what a node shows the registry.</summary>
internal static class TokenFile
{
    private const UnixFileMode OwnersOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    public static PresetLogin LoginOf(string host, FileInfo file)
    {
        var text = File.ReadLines(file.FullName).FirstOrDefault("").Trim();
        return text.Length == 0 ? throw CommandFailure.Usage($"{file} is empty; its first line is to be the token")
            : text.Contains(':', StringComparison.Ordinal)
                ? new PresetLogin(host, "Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(text)))
            : new PresetLogin(host, "Bearer", text);
    }

    /// <summary>Says where others on this machine can have the token too: whoever has it builds as this node.</summary>
    public static void Warn(FileInfo? file, Shell shell)
    {
        if (file is not null && file.Exists && (file.UnixFileMode & ~OwnersOnly) != UnixFileMode.None)
        {
            shell.Error.WriteLine(
                $"warning: {TerminalText.Escape(file.FullName)} is open to other accounts than its owner's, and the token in it too: chmod 600"
            );
        }
    }

    /// <summary>What to do where the registry does not take what it was shown.</summary>
    public static string Advice(bool shown) =>
        shown
            ? "Give the node one that it may ask for work with, from: kiln token issue … --action lease"
            : "Give the node a token with --token-file FILE, from: kiln token issue … --action lease";
}
