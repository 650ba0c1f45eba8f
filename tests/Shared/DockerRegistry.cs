using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Kiln.TestPrograms;

/// <summary>
/// A second registry for tests: Debian's docker-registry on a free loopback port. It keeps its content when it is killed and
/// started again, and ends with the test run.
/// </summary>
internal sealed class DockerRegistry : IDisposable
{
    private const string Program = "/usr/bin/docker-registry";
    private const int StartSeconds = 60;

    // Killed when our end of the pipe closes, so that nothing outlives the tests.
    private const string Script = """
        docker-registry serve "$0" >>"$1" 2>&1 </dev/null &
        pid=$!
        trap 'kill -9 $pid 2>/dev/null' EXIT
        cat >/dev/null
        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("kiln-docker-registry-").FullName;
    private Process? _process;

    /// <param name="htpasswd">Lines of a htpasswd file with bcrypt hashes; null lets everybody in.</param>
    /// <param name="tells">Where it sends notifications, and with which value of <c>Authorization</c>; null sends none.</param>
    public DockerRegistry(string? htpasswd = null, (string Url, string Authorization)? tells = null)
    {
        using (var listener = new TcpListener(IPAddress.Loopback, 0))
        {
            listener.Start();
            Port = ((IPEndPoint)listener.LocalEndpoint).Port;
        }

        var users = Path.Combine(_directory, "users");
        File.WriteAllText(users, htpasswd ?? "");
        File.WriteAllText(
            Path.Combine(_directory, "config.yml"),
            $"""
            version: 0.1
            log: {"{"} level: info {"}"}
            storage:
              filesystem: {"{"} rootdirectory: {_directory}/data {"}"}
              delete: {"{"} enabled: true {"}"}
            http: {"{"} addr: 127.0.0.1:{Port} {"}"}
            {(htpasswd is null ? "" : $"auth: {{ htpasswd: {{ realm: test, path: {users} }} }}")}
            {(tells is null ? "" : Notifications(tells.Value.Url, tells.Value.Authorization))}
            """
        );
        Start();
    }

    /// <summary>Whether this machine has one.</summary>
    public static bool IsHere => File.Exists(Program);

    public int Port { get; }

    public string Host => $"127.0.0.1:{Port}";

    /// <summary>The requests that it answered and whose line holds all of these texts.</summary>
    public int Requests(params string[] texts)
    {
        using var log = new FileStream(LogFile, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(log);
        return reader
            .ReadToEnd()
            .Split('\n')
            .Count(line =>
                line.Contains("HTTP/1.1\"", StringComparison.Ordinal)
                && Array.TrueForAll(texts, text => line.Contains(text, StringComparison.Ordinal))
            );
    }

    public void Start()
    {
        var start = new ProcessStartInfo("sh", ["-c", Script, Path.Combine(_directory, "config.yml"), LogFile])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
        };
        _process = Process.Start(start)!;
        var clock = Stopwatch.StartNew();
        while (!Listens())
        {
            if (clock.Elapsed > TimeSpan.FromSeconds(StartSeconds))
            {
                throw new InvalidOperationException($"docker-registry does not start: {File.ReadAllText(LogFile)}");
            }

            Thread.Yield();
        }
    }

    /// <summary>Ends it as a power cut would.</summary>
    public void Kill()
    {
        _process?.StandardInput.Close();
        _process?.WaitForExit(TimeSpan.FromSeconds(StartSeconds));
        _process?.Dispose();
        _process = null;
    }

    public void Dispose()
    {
        Kill();
        Directory.Delete(_directory, recursive: true);
    }

    private static string Notifications(string url, string authorization) =>
        $$"""
            notifications:
              endpoints:
                - name: kiln
                  url: {{url}}
                  headers: { Authorization: ["{{authorization}}"] }
                  timeout: 5s
                  threshold: 3
                  backoff: 1s
            """;

    private string LogFile => Path.Combine(_directory, "log");

    private bool Listens()
    {
        try
        {
            using var client = new TcpClient();
            client.Connect(IPAddress.Loopback, Port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
