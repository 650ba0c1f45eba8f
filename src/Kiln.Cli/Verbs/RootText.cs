using Kiln.BuildSpec;

namespace Kiln.Cli.Verbs;

/// <summary>How builds come to be root, for people.</summary>
internal static class RootText
{
    public static string Of(IEnumerable<string> roots) => string.Join("; ", roots.Select(Of));

    private static string Of(string root) =>
        root switch
        {
            RootMethods.SubordinateIds => "subuid (subordinate ids: files keep their owners)",
            RootMethods.Seccomp => "seccomp (one id, pretended: files have no owners but root, and no set-id bits)",
            _ => TerminalText.Escape(root),
        };
}
