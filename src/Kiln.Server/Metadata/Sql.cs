using System.Data.Common;
using System.Globalization;
using Kiln.Server.Metadata.Postgres;
using Kiln.Server.Metadata.Sqlite;
using Microsoft.Data.Sqlite;
using Npgsql;

namespace Kiln.Server.Metadata;

/// <summary>The few words of ADO.NET that the rest of the server uses. Values are always parameters.</summary>
internal static class Sql
{
    /// <summary>Runs a statement and returns the number of rows it changed.</summary>
    public static int Run(
        this DbConnection connection,
        string sql,
        params ReadOnlySpan<(string Name, object? Value)> values
    )
    {
        using var statement = new Statement(connection, sql, values);
        return statement.Command.ExecuteNonQuery();
    }

    /// <inheritdoc cref="Run(DbConnection, string, ReadOnlySpan{ValueTuple{string, object?}})"/>
    public static int Run(
        this DbTransaction transaction,
        string sql,
        params ReadOnlySpan<(string Name, object? Value)> values
    ) => transaction.Connection!.Run(sql, values);

    /// <summary>The first column of the first row, or null.</summary>
    public static T? Scalar<T>(
        this DbConnection connection,
        string sql,
        params ReadOnlySpan<(string Name, object? Value)> values
    )
    {
        using var statement = new Statement(connection, sql, values);
        return statement.Command.ExecuteScalar() switch
        {
            null or DBNull => default,
            T value => value,
            var other => (T)
                Convert.ChangeType(
                    other,
                    Nullable.GetUnderlyingType(typeof(T)) ?? typeof(T),
                    CultureInfo.InvariantCulture
                ),
        };
    }

    /// <inheritdoc cref="Scalar{T}(DbConnection, string, ReadOnlySpan{ValueTuple{string, object?}})"/>
    public static T? Scalar<T>(
        this DbTransaction transaction,
        string sql,
        params ReadOnlySpan<(string Name, object? Value)> values
    ) => transaction.Connection!.Scalar<T>(sql, values);

    /// <summary>All rows, mapped.</summary>
    public static List<T> Query<T>(
        this DbConnection connection,
        string sql,
        Func<DbDataReader, T> map,
        params ReadOnlySpan<(string Name, object? Value)> values
    )
    {
        using var statement = new Statement(connection, sql, values);
        using var answer = statement.Command.ExecuteReader();
        using var reader = answer is NpgsqlDataReader postgres ? new PostgresRows(postgres) : answer;
        var rows = new List<T>();
        while (reader.Read())
        {
            rows.Add(map(reader));
        }

        return rows;
    }

    /// <inheritdoc cref="Query{T}(DbConnection, string, Func{DbDataReader, T}, ReadOnlySpan{ValueTuple{string, object?}})"/>
    public static List<T> Query<T>(
        this DbTransaction transaction,
        string sql,
        Func<DbDataReader, T> map,
        params ReadOnlySpan<(string Name, object? Value)> values
    ) => transaction.Connection!.Query(sql, map, values);

    /// <summary>
    /// The members of a JSON object of texts, as a table of <c>key</c> and <c>value</c>: the one thing for which the two
    /// databases have no common words.
    /// </summary>
    /// <param name="text">An expression.</param>
    public static string JsonMembers(this DbConnection connection, string text) =>
        connection is NpgsqlConnection ? $"json_each_text(CAST({text} AS json))" : $"json_each({text})";

    public static string? TextOrNull(this DbDataReader row, int column) =>
        row.IsDBNull(column) ? null : row.GetString(column);

    public static long? LongOrNull(this DbDataReader row, int column) =>
        row.IsDBNull(column) ? null : row.GetInt64(column);

    // A command with its values; what can be kept for the next time goes back to its connection.
    private readonly ref struct Statement
    {
        private readonly PreparedConnection? _keeper;

        public Statement(DbConnection connection, string sql, ReadOnlySpan<(string Name, object? Value)> values)
        {
            _keeper = connection as PreparedConnection;
            if (_keeper is not null)
            {
                Command = _keeper.Take(sql);
            }
            else
            {
                Command = connection.CreateCommand();
                Command.CommandText = sql;
            }

            Bind(values, postgres: connection is NpgsqlConnection);
        }

        public DbCommand Command { get; }

        public void Dispose()
        {
            if (_keeper is not null)
            {
                _keeper.GiveBack((SqliteCommand)Command);
            }
            else
            {
                Command.Dispose();
            }
        }

        private void Bind(ReadOnlySpan<(string Name, object? Value)> values, bool postgres)
        {
            var parameters = Command.Parameters;
            var known = parameters.Count == values.Length;
            for (var i = 0; known && i < values.Length; i++)
            {
                known = parameters[i].ParameterName.AsSpan(1).SequenceEqual(values[i].Name);
            }

            if (!known)
            {
                parameters.Clear();
            }

            for (var i = 0; i < values.Length; i++)
            {
                var (name, value) = values[i];
                if (!known)
                {
                    var parameter = Command.CreateParameter();
                    parameter.ParameterName = "@" + name;
                    parameters.Add(parameter);
                }

                parameters[i].Value =
                    value is string text && postgres ? PostgresText.Clean(text) : value ?? DBNull.Value;
            }
        }
    }
}
