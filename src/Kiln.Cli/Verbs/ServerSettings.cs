using System.CommandLine;
using System.CommandLine.Parsing;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln serve</c> that set something, as the server declares them, and the file that does.</summary>
internal sealed class ServerSettings
{
    private readonly Option<string?> _file = new("--config")
    {
        Description = $"The configuration file; ${ServerConfiguration.FileVariable} otherwise.",
        HelpName = "FILE",
    };

    private readonly List<Option> _flags = [];
    private readonly Shell _shell;

    private ServerSettings(Shell shell) => _shell = shell;

    /// <summary>Adds the options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="shell">Where it runs.</param>
    /// <param name="takes">Which flags the command has; null for all. The file and the environment set the others too.</param>
    public static ServerSettings On(Command command, Shell shell, Func<string, bool>? takes = null)
    {
        var settings = new ServerSettings(shell);
        command.Add(settings._file);
        foreach (var flag in ServerConfiguration.Flags().Where(flag => takes?.Invoke(flag.Name) ?? true))
        {
            var option = OptionOf(flag);
            settings._flags.Add(option);
            command.Add(option);
        }

        return settings;
    }

    /// <summary>What the command line, the environment and the file say together.</summary>
    public ConfigurationResult Load(ParseResult parsed)
    {
        var flags = new Dictionary<string, IReadOnlyList<string>>(StringComparer.Ordinal);
        foreach (var option in _flags)
        {
            if (parsed.GetResult(option) is { Implicit: false } given)
            {
                flags[option.Name] = given.Tokens.Count == 0 ? ["true"] : [.. given.Tokens.Select(t => t.Value)];
            }
        }

        var file = parsed.GetValue(_file) ?? _shell.Variable(ServerConfiguration.FileVariable);
        return ServerConfiguration.Load(
            new ConfigurationSources
            {
                File = file is { Length: > 0 } ? Path.GetFullPath(file) : null,
                DataDirectory = DefaultData(_shell.Variable),
                Variables = _shell.Variables(),
                Flags = flags,
            }
        );
    }

    /// <summary>As <see cref="Load"/>; warnings go to standard error.</summary>
    /// <exception cref="CommandFailure">Something is wrong; the message says all of it.</exception>
    public ServerOptions Require(ParseResult parsed)
    {
        var configuration = Load(parsed);
        foreach (var warning in configuration.Warnings)
        {
            _shell.Error.WriteLine($"warning: {TerminalText.Escape(warning)}");
        }

        return configuration.Faults.Count == 0
            ? configuration.Options
            : throw CommandFailure.Usage($"the configuration is wrong:\n  {string.Join("\n  ", configuration.Faults)}");
    }

    private static Option OptionOf(ConfigurationFlag flag)
    {
        var description = flag.Default is null ? flag.Description : $"{flag.Description} [default: {flag.Default}]";
        return flag.Placeholder is null ? new Option<bool>(flag.Name) { Description = description }
            : flag.IsList ? new Option<string[]>(flag.Name) { Description = description, HelpName = flag.Placeholder }
            : new Option<string?>(flag.Name) { Description = description, HelpName = flag.Placeholder };
    }

    // The place that the XDG base directory specification gives for a user's data.
    private static string DefaultData(Func<string, string?> variable) =>
        variable("XDG_DATA_HOME") is { Length: > 0 } data
            ? Path.Combine(data, "kiln")
            : Path.Combine(variable("HOME") is { Length: > 0 } home ? home : "/", ".local", "share", "kiln");
}
