using System.Data.Common;
using System.Globalization;
using Kiln.Server.Metadata.Postgres;
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
        using var command = connection.Command(sql, values);
        return command.ExecuteNonQuery();
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
        using var command = connection.Command(sql, values);
        return command.ExecuteScalar() switch
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
        using var command = connection.Command(sql, values);
        using var answer = command.ExecuteReader();
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

    public static string? TextOrNull(this DbDataReader row, int column) =>
        row.IsDBNull(column) ? null : row.GetString(column);

    public static long? LongOrNull(this DbDataReader row, int column) =>
        row.IsDBNull(column) ? null : row.GetInt64(column);

    private static DbCommand Command(
        this DbConnection connection,
        string sql,
        ReadOnlySpan<(string Name, object? Value)> values
    )
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        var postgres = connection is NpgsqlConnection;
        foreach (var (name, value) in values)
        {
            var parameter = command.CreateParameter();
            parameter.ParameterName = "@" + name;
            parameter.Value = value is string text && postgres ? PostgresText.Clean(text) : value ?? DBNull.Value;
            command.Parameters.Add(parameter);
        }

        return command;
    }
}
