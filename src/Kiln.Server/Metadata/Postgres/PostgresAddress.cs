using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Npgsql;

namespace Kiln.Server.Metadata.Postgres;

/// <summary>
/// Where a PostgreSQL is: <c>postgres://USER@HOST[:PORT]/DATABASE[?NAME=VALUE…]</c>, the form that libpq reads ("Connection
/// URIs"). Of its parameters: <c>host</c> (a directory of Unix sockets), <c>sslmode</c>, <c>sslrootcert</c>,
/// <c>application_name</c>, <c>connect_timeout</c>; and <c>schema</c>, where the tables are. A password never stands in it.
/// </summary>
internal sealed record PostgresAddress
{
    private const int MaxConnections = 32;

    private PostgresAddress(NpgsqlConnectionStringBuilder connection, string schema) =>
        (Connection, Schema) = (connection, schema);

    /// <summary>What the driver is told.</summary>
    public NpgsqlConnectionStringBuilder Connection { get; }

    /// <summary>The schema that holds the tables.</summary>
    public string Schema { get; }

    /// <summary>The channel on which servers of this schema tell each other what happened.</summary>
    public string Channel => "kiln_" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Schema)))[..16];

    /// <summary>Reads an address.</summary>
    /// <param name="passwordFile">
    /// A file whose first line is the password; null leaves it to <c>PGPASSWORD</c>, <c>PGPASSFILE</c> or <c>~/.pgpass</c>.
    /// </param>
    /// <param name="durability">With <see cref="Durability.Relaxed"/> a commit does not wait for the database's disk.</param>
    /// <exception cref="ServerStartException">It cannot be used; the message says why, without the password.</exception>
    public static PostgresAddress Parse(string address, string? passwordFile, Durability durability = Durability.Full)
    {
        if (!IsOne(address) || !Uri.TryCreate(address, UriKind.Absolute, out var uri))
        {
            throw Bad("it is no address of the form postgres://USER@HOST[:PORT]/DATABASE");
        }

        if (uri.UserInfo.Contains(':', StringComparison.Ordinal))
        {
            throw Bad(
                "a password in it can be read by everybody who lists this machine's processes; put it into a file and "
                    + "name that with --database-password-file, or set PGPASSWORD or PGPASSFILE"
            );
        }

        var connection = new NpgsqlConnectionStringBuilder
        {
            Host = uri.Host.Length > 0 ? uri.Host : "localhost",
            Database = Uri.UnescapeDataString(uri.AbsolutePath.TrimStart('/')),
            Username = uri.UserInfo.Length > 0 ? Uri.UnescapeDataString(uri.UserInfo) : null,
            ApplicationName = "kiln",
            MaxPoolSize = MaxConnections,
            // Statements are few and come again and again.
            MaxAutoPrepare = 200,
            AutoPrepareMinUsages = 2,
            // Nothing here changes a session.
            NoResetOnClose = true,
            KeepAlive = 15,
        };
        if (uri.Port > 0)
        {
            connection.Port = uri.Port;
        }

        var schema = "public";
        foreach (var (name, value) in Parameters(uri.Query))
        {
            if (name == "schema")
            {
                schema = value;
            }
            else
            {
                Set(connection, name, value);
            }
        }

        if (string.IsNullOrEmpty(connection.Database))
        {
            throw Bad("it names no database");
        }

        RequireSchema(schema);
        connection.Options = SessionOptions(schema, durability);
        if (passwordFile is not null)
        {
            connection.Password = ReadPassword(passwordFile);
        }

        return new PostgresAddress(connection, schema);
    }

    // A server that stops in the middle of a transaction (frozen, or cut off) must not keep all others from writing.
    private static string SessionOptions(string schema, Durability durability) =>
        $"-c search_path={schema} -c idle_in_transaction_session_timeout=10000"
        + (durability == Durability.Relaxed ? " -c synchronous_commit=off" : "");

    /// <summary>For messages: where it is, and nothing that is secret.</summary>
    public override string ToString() => $"{Connection.Host}:{Connection.Port}/{Connection.Database}";

    private static bool IsOne(string address) =>
        address.StartsWith("postgres://", StringComparison.Ordinal)
        || address.StartsWith("postgresql://", StringComparison.Ordinal);

    private static void Set(NpgsqlConnectionStringBuilder connection, string name, string value)
    {
        try
        {
            switch (name)
            {
                case "host":
                    connection.Host = value;
                    break;
                case "sslmode":
                    connection.SslMode = Enum.Parse<SslMode>(
                        value.Replace("-", "", StringComparison.Ordinal),
                        ignoreCase: true
                    );
                    break;
                case "sslrootcert":
                    connection.RootCertificate = value;
                    break;
                case "application_name":
                    connection.ApplicationName = value;
                    break;
                case "connect_timeout":
                    connection.Timeout = int.Parse(value, NumberStyles.None, CultureInfo.InvariantCulture);
                    break;
                default:
                    throw Bad(
                        $"'{name}' is no parameter that is known here; those are host, schema, sslmode, sslrootcert, application_name, connect_timeout"
                    );
            }
        }
        catch (Exception e) when (e is ArgumentException or FormatException or OverflowException)
        {
            throw Bad($"'{value}' cannot be the value of '{name}'");
        }
    }

    private static IEnumerable<(string Name, string Value)> Parameters(string query) =>
        query
            .TrimStart('?')
            .Split('&', StringSplitOptions.RemoveEmptyEntries)
            .Select(pair => pair.Split('=', 2))
            .Select(pair => (Uri.UnescapeDataString(pair[0]), pair.Length > 1 ? Uri.UnescapeDataString(pair[1]) : ""));

    // It stands in a setting of the session, which has no parameters.
    private static void RequireSchema(string schema)
    {
        if (
            schema.Length is 0 or > 63
            || !schema.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '_')
        )
        {
            throw Bad("a schema has 1 to 63 lower-case letters, digits and underscores");
        }
    }

    private static string ReadPassword(string file)
    {
        try
        {
            return File.ReadLines(file).FirstOrDefault() is { Length: > 0 } password
                ? password
                : throw new ServerStartException($"{file} has no password of the database in its first line");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot read the database's password: {e.Message}", e);
        }
    }

    private static ServerStartException Bad(string why) => new($"--database cannot be used: {why}");
}
