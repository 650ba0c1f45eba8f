namespace Kiln.TestPrograms;

/// <summary>
/// An S3 server of this test run: s3rver from npm (eng/s3-server.sh), with data of its own, on loopback. What it does and does
/// not do as S3 does stands in s3-server.js.
/// </summary>
internal sealed class S3Server : IDisposable
{
    public const string Bucket = "kiln-test";

    private const string Keys = "[default]\naws_access_key_id = S3RVER\naws_secret_access_key = S3RVER\n";

    private const string Script = """
        dir=$(mktemp -d "${TMPDIR:-/tmp}/kiln-s3-XXXXXX")
        trap 'rm -rf "$dir"' EXIT
        # Its tokens of long lists are in DES, which OpenSSL 3 calls legacy.
        node --openssl-legacy-provider "$PROGRAM" "$dir" "$BUCKET" >"$dir/port" 2>"$dir/log" &
        pid=$!
        for try in $(seq 300); do
            ! [ -s "$dir/port" ] || break
            sleep 0.1
        done
        [ -s "$dir/port" ] || { cat "$dir/log" >&2; exit 1; }
        echo "ready $(cat "$dir/port")"
        cat >/dev/null
        kill "$pid"
        wait "$pid" || true
        """;

    private static int _prefixes;
    private readonly TestProgram _program;

    private S3Server(TestProgram program)
    {
        _program = program;
        CredentialsFile = Path.Combine(Path.GetTempPath(), $"kiln-s3-credentials-{Guid.NewGuid():N}");
        File.WriteAllText(CredentialsFile, Keys);
    }

    /// <summary>Why there is none to start; null where there is one.</summary>
    public static string? Missing =>
        Directory.Exists(Path.Combine(Modules, "s3rver"))
            ? null
            : $"NOT RUN: no S3 server in {Modules}; ./check puts it there where it has npm (eng/s3-server.sh)";

    /// <summary>A file with the keys of the bucket.</summary>
    public string CredentialsFile { get; }

    /// <summary>For <c>--s3-endpoint</c>.</summary>
    public string Endpoint => $"http://127.0.0.1:{_program.Words}";

    public static S3Server Start() =>
        new(
            TestProgram.Start(
                Script,
                asSelf: true,
                $"NODE_PATH={Modules}",
                $"PROGRAM={Path.Combine(AppContext.BaseDirectory, "s3-server.js")}",
                $"BUCKET={Bucket}"
            )
        );

    /// <summary>A bucket for <c>--storage</c>, of which nobody has used the part.</summary>
    public static string NewStorage() =>
        $"s3://{Bucket}/{Environment.ProcessId}-{Interlocked.Increment(ref _prefixes)}";

    public void Dispose()
    {
        _program.Dispose();
        File.Delete(CredentialsFile);
    }

    private static string Modules =>
        Environment.GetEnvironmentVariable("KILN_TEST_S3RVER") is { Length: > 0 } named
            ? named
            : Path.Combine(
                Environment.GetFolderPath(Environment.SpecialFolder.UserProfile),
                ".cache/kiln-tests/s3rver/node_modules"
            );
}
