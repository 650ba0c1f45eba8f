using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using Kiln.Cli;

namespace Kiln.Tests.Operation;

/// <summary><c>kiln serve</c> as a process of its own: for signals, and for what is written before it has a log.</summary>
internal sealed partial class ServerProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly Socket _notified;
    private readonly StringBuilder _output = new();
    private readonly TaskCompletionSource<string> _url = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private ServerProcess(IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> variables, string data)
    {
        DataDirectory = data;
        var socket = Path.Combine(data, "notify");
        _notified = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        _notified.Bind(new UnixDomainSocketEndPoint(socket));
        string[] all =
        [
            typeof(CommandLine).Assembly.Location,
            "serve",
            "--no-builds",
            "--urls",
            "http://127.0.0.1:0",
            "--data",
            Path.Combine(data, "data"),
            .. arguments,
        ];
        var start = new ProcessStartInfo(Environment.ProcessPath!, all)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        start.Environment["NOTIFY_SOCKET"] = socket;
        start.Environment["WATCHDOG_USEC"] = "200000";
        foreach (var (name, value) in variables)
        {
            start.Environment[name] = value;
        }

        _process = Process.Start(start)!;
        _process.OutputDataReceived += (_, line) => Hear(line.Data);
        _process.ErrorDataReceived += (_, line) => Hear(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public string DataDirectory { get; }

    public int Id => _process.Id;

    public int ExitCode => _process.ExitCode;

    /// <summary>What it has written so far.</summary>
    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    public string Url { get; private set; } = "";

    public static async Task<ServerProcess> StartAsync(
        IReadOnlyList<string> arguments,
        IReadOnlyDictionary<string, string>? variables = null,
        string? data = null
    )
    {
        var server = new ServerProcess(
            arguments,
            variables ?? new Dictionary<string, string>(),
            data ?? Directory.CreateTempSubdirectory("kiln-process-").FullName
        );
        server.Url = await server._url.Task.WaitAsync(TimeSpan.FromMinutes(3));
        return server;
    }

    /// <summary>Waits until systemd would have heard a word.</summary>
    public async Task<string> NotifiedAsync(string word)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        var buffer = new byte[4096];
        while (true)
        {
            var length = await _notified.ReceiveAsync(buffer, SocketFlags.None, patience.Token);
            var text = Encoding.UTF8.GetString(buffer, 0, length);
            if (text.Split('\n').Contains(word))
            {
                return text;
            }
        }
    }

    public void Signal(string name) => Process.Start("sh", ["-c", $"kill -{name} {_process.Id}"])!.WaitForExit();

    public async Task<int> EndAsync(TimeSpan patience)
    {
        using var over = new CancellationTokenSource(patience);
        await _process.WaitForExitAsync(over.Token);
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
        _notified.Dispose();
        Directory.Delete(DataDirectory, recursive: true);
    }

    private void Hear(string? line)
    {
        if (line is null)
        {
            _url.TrySetException(new InvalidOperationException($"kiln serve ended:\n{Output}"));
            return;
        }

        lock (_output)
        {
            _output.AppendLine(line);
        }

        if (Listening().Match(line) is { Success: true } match)
        {
            _url.TrySetResult(match.Groups["url"].Value);
        }
    }

    [GeneratedRegex("listening on (?<url>http://[0-9.:]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Listening();
}
