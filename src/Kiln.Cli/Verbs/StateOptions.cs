using System.CommandLine;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln serve</c> that say where it keeps what it has to remember.</summary>
internal sealed class StateOptions
{
    private readonly Option<string> _data;

    private readonly Option<string?> _database = new("--database")
    {
        Description =
            "A PostgreSQL for names and the build queue, shared by several servers: postgres://USER@HOST/DATABASE.",
        HelpName = "ADDRESS",
    };

    private readonly Option<FileInfo?> _databasePassword = new("--database-password-file")
    {
        Description = "A file with the database's password; PGPASSWORD and PGPASSFILE work too.",
        HelpName = "FILE",
    };

    private StateOptions(Shell shell) =>
        _data = new("--data")
        {
            Description = "The directory that holds everything the server keeps.",
            HelpName = "DIR",
            DefaultValueFactory = _ => DefaultData(shell.Variable),
        };

    /// <summary>Adds the options to a command.</summary>
    public static StateOptions On(Command command, Shell shell)
    {
        var options = new StateOptions(shell);
        command.Add(options._data);
        command.Add(options._database);
        command.Add(options._databasePassword);
        return options;
    }

    /// <summary>A server's options with what the command line says of them.</summary>
    public ServerOptions Of(ParseResult parsed) =>
        new()
        {
            DataDirectory = Path.GetFullPath(parsed.GetRequiredValue(_data)),
            Database = parsed.GetValue(_database),
            DatabasePasswordFile = parsed.GetValue(_databasePassword)?.FullName,
        };

    // The place that the XDG base directory specification gives for a user's data.
    private static string DefaultData(Func<string, string?> variable) =>
        variable("XDG_DATA_HOME") is { Length: > 0 } data
            ? Path.Combine(data, "kiln")
            : Path.Combine(variable("HOME") is { Length: > 0 } home ? home : "/", ".local", "share", "kiln");
}
