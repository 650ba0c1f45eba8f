namespace Kiln.TestPrograms;

/// <summary>A PostgreSQL of this test run: Debian's, with data of its own, on a socket that only this machine reaches.</summary>
internal sealed class PostgresServer : IDisposable
{
    public const string Password = "kiln'test \"password\"";

    private const string Script = """
        bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
        dir=$(mktemp -d "${TMPDIR:-/tmp}/kiln-postgres-XXXXXX")
        trap 'rm -rf "$dir"' EXIT
        printf '%s\n' "$PASSWORD" >"$dir/password"
        "$bin/initdb" -D "$dir/data" -U kiln --auth=scram-sha-256 --pwfile="$dir/password" \
            --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
        "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=400 $SETTINGS >>"$dir/log" 2>&1 &
        pid=$!
        for try in $(seq 300); do
            ! PGPASSWORD=$PASSWORD "$bin/psql" -h "$dir" -U kiln -c 'SELECT 1' postgres >/dev/null 2>&1 || break
            sleep 0.1
        done
        echo "ready $dir"
        cat >/dev/null
        kill -INT "$pid"
        wait "$pid" || true
        """;

    private static int _schemas;
    private readonly TestProgram _program;

    private PostgresServer(TestProgram program)
    {
        _program = program;
        PasswordFile = Path.Combine(Path.GetTempPath(), $"kiln-postgres-password-{Guid.NewGuid():N}");
        File.WriteAllText(PasswordFile, Password + "\n");
    }

    /// <summary>Whether this machine has a PostgreSQL to start.</summary>
    public static bool IsHere => Directory.Exists("/usr/lib/postgresql");

    /// <summary>A file with the password.</summary>
    public string PasswordFile { get; }

    /// <param name="durable">Whether commits are synced; tests that cut no power are faster without.</param>
    public static PostgresServer Start(bool durable = false)
    {
        var settings = durable ? "" : "-c fsync=off -c full_page_writes=off";
        var program = TestProgram.Start(Script, asSelf: false, $"PASSWORD={Password}", $"SETTINGS={settings}");
        return new PostgresServer(program);
    }

    /// <summary>The directory with its socket.</summary>
    public string Host => _program.Words;

    /// <summary>An address for <c>--database</c>, of a schema that nobody has used.</summary>
    public string NewAddress() => Address($"kiln_{Environment.ProcessId}_{Interlocked.Increment(ref _schemas)}");

    /// <summary>An address for <c>--database</c>.</summary>
    public string Address(string schema) =>
        $"postgres://kiln@localhost/postgres?host={Uri.EscapeDataString(Host)}&schema={schema}";

    public void Dispose()
    {
        _program.Dispose();
        File.Delete(PasswordFile);
    }
}
