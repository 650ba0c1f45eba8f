using System.Text;
using Kiln.Cli;

namespace Kiln.Tests.Cli;

/// <summary>A pipe's view of the world, with nobody's logins and nothing set.</summary>
internal static class TestShell
{
    public static Shell Create(StringWriter? output = null, StringWriter? error = null, string input = "") =>
        new()
        {
            Out = output ?? new StringWriter(),
            Error = error ?? new StringWriter(),
            In = () => new MemoryStream(Encoding.UTF8.GetBytes(input)),
            ErrorIsTerminal = false,
            InIsTerminal = false,
            Variable = name => name == "HOME" ? "/nonexistent" : null,
        };
}
