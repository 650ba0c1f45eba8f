using Microsoft.Data.Sqlite;

namespace Kiln.Server.Metadata.Sqlite;

/// <summary>
/// A connection that keeps the statements that it has run: to read the text of a small query costs more than to run it. Used
/// by one thread at a time.
/// </summary>
internal sealed class PreparedConnection(string connectionString) : SqliteConnection(connectionString)
{
    // All the statements of the server are fewer.
    private const int MaxKept = 256;

    // Longer ones are migrations, which run once.
    private const int MaxText = 2000;

    // Bytes or characters of a value that a statement may hold on to until it runs again.
    private const int MaxValue = 16 << 10;

    private readonly Dictionary<string, SqliteCommand> _idle = new(StringComparer.Ordinal);

    /// <summary>A command in the transaction under way, with the parameters that it had when it was given back.</summary>
    public SqliteCommand Take(string sql)
    {
        if (!_idle.Remove(sql, out var command))
        {
            command = new SqliteCommand(sql, this);
        }

        command.Transaction = Transaction;
        return command;
    }

    /// <summary>Takes a command back that has no reader any more.</summary>
    public void GiveBack(SqliteCommand command)
    {
        if (
            _idle.Count >= MaxKept
            || command.CommandText.Length > MaxText
            || HoldsMuch(command)
            || !_idle.TryAdd(command.CommandText, command)
        )
        {
            command.Dispose();
            return;
        }

        command.Transaction = null;
    }

    private static bool HoldsMuch(SqliteCommand command)
    {
        foreach (SqliteParameter parameter in command.Parameters)
        {
            if (parameter.Value is byte[] { Length: > MaxValue } or string { Length: > MaxValue })
            {
                return true;
            }
        }

        return false;
    }
}
