using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Kiln.EndToEnd.Harness;

/// <summary>One <c>kiln serve</c> of the ordinary user, on a free port, with a data directory of its own.</summary>
public class Server : IAsyncLifetime, IDisposable
{
    private readonly Machine _machine;
    private readonly string _directory;
    private Process? _process;

    public Server(Machine machine)
    {
        _machine = machine;
        _directory = machine.In($"server-{Guid.NewGuid():N}");
        var port = FreePort();
        Host = $"127.0.0.1:{port}";
        Http = new HttpClient { BaseAddress = new Uri($"http://{Host}"), Timeout = TimeSpan.FromSeconds(120) };
    }

    /// <summary>Host and port, as they stand in references.</summary>
    public string Host { get; }

    public HttpClient Http { get; }

    /// <summary>How the program is started.</summary>
    protected virtual IReadOnlyList<string> Program => _machine.Kiln;

    /// <summary>Where it listens.</summary>
    protected virtual string Urls => $"http://{Host}";

    /// <summary>What else is said to <c>kiln serve</c>.</summary>
    protected virtual IReadOnlyList<string> Options => [];

    public string LogFile => Path.Combine(_directory, "kiln.log");

    public string DataDirectory => Path.Combine(_directory, "data");

    public virtual async ValueTask InitializeAsync()
    {
        _machine.RunAsUser("mkdir", "-p", _directory).Ok();
        await StartAsync();
    }

    /// <summary>Starts the program; comes back when it answers.</summary>
    public async Task StartAsync()
    {
        string[] serve = [.. Program, "serve", "--urls", Urls, "--data", DataDirectory, .. Options];
        _process = Process.Start(_machine.AsUser(["sh", "-c", "exec \"$@\" >>\"$0\" 2>&1", LogFile, .. serve]))!;
        _process.StandardInput.Close();
        var clock = Stopwatch.StartNew();
        while (!await AnswersAsync())
        {
            if (_process.HasExited || clock.Elapsed > TimeSpan.FromMinutes(2))
                Assert.Fail($"kiln serve did not answer on {Host}:\n{Log()}");
            await Task.Delay(TimeSpan.FromMilliseconds(20));
        }
    }

    /// <summary>Ends the program as an operator would, and waits for its end.</summary>
    public Task StopAsync() => EndAsync("TERM");

    /// <summary>Ends the program as a power cut would.</summary>
    public Task KillAsync() => EndAsync("KILL");

    public string Log() => File.Exists(LogFile) ? File.ReadAllText(LogFile) : "(no log)";

    public virtual async ValueTask DisposeAsync()
    {
        await StopAsync();
        Dispose();
    }

    public void Dispose()
    {
        Http.Dispose();
        _process?.Dispose();
    }

    private async Task EndAsync(string signal)
    {
        if (_process is not { HasExited: false } process)
            return;
        // The shell's own kill: a minimal Debian has no other.
        _machine.RunAsUser("sh", "-c", $"kill -{signal} {process.Id}").Ok();
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        await process.WaitForExitAsync(patience.Token);
    }

    /// <summary>Whether it answers already.</summary>
    protected virtual async Task<bool> AnswersAsync()
    {
        try
        {
            using var answer = await Http.GetAsync("/v2/");
            // A registry with users asks whoever comes to log in.
            return answer.StatusCode is HttpStatusCode.OK or HttpStatusCode.Unauthorized;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    internal static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
