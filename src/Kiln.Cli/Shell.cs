using System.Collections;

namespace Kiln.Cli;

/// <summary>The world around a command: where it reads and writes, and what its user set.</summary>
internal sealed record Shell
{
    public required TextWriter Out { get; init; }
    public required TextWriter Error { get; init; }

    /// <summary>Opens standard input.</summary>
    public required Func<Stream> In { get; init; }
    public required bool ErrorIsTerminal { get; init; }
    public required bool InIsTerminal { get; init; }

    /// <summary>Reads an environment variable.</summary>
    public required Func<string, string?> Variable { get; init; }

    /// <summary>All environment variables.</summary>
    public Func<IReadOnlyDictionary<string, string>> Variables { get; init; } = () => new Dictionary<string, string>();

    /// <summary>Lines that the terminal shows at a time.</summary>
    public Func<int> Height { get; init; } = () => 24;
    public TimeProvider Time { get; init; } = TimeProvider.System;

    public static Shell OfProcess() =>
        new()
        {
            Out = Console.Out,
            Error = Console.Error,
            In = Console.OpenStandardInput,
            ErrorIsTerminal = !Console.IsErrorRedirected,
            InIsTerminal = !Console.IsInputRedirected,
            Variable = Environment.GetEnvironmentVariable,
            Variables = AllVariables,
            Height = () => Console.WindowHeight,
        };

    private static Dictionary<string, string> AllVariables() =>
        Environment
            .GetEnvironmentVariables()
            .Cast<DictionaryEntry>()
            .ToDictionary(e => (string)e.Key, e => (string?)e.Value ?? "", StringComparer.Ordinal);
}
