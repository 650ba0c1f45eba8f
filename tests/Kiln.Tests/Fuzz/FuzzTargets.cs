using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Access;
using Kiln.Tests.Architecture;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Kiln.Tests.Fuzz;

/// <summary>A server to send to.</summary>
internal interface IFuzzTarget : IAsyncDisposable
{
    string Url { get; }

    /// <summary>Resident bytes of its process.</summary>
    long Memory();

    /// <summary>What its log has that should not be there.</summary>
    IReadOnlyList<string> Errors();
}

/// <summary>A server in this process, beside which the fuzz plays a node that builds, so that there are jobs.</summary>
internal sealed class FuzzServer : IFuzzTarget
{
    private readonly DirectoryInfo _files;
    private readonly TestServer _server;
    private readonly ServerLog _log;

    private FuzzServer(DirectoryInfo files, TestServer server, ServerLog log) =>
        (_files, _server, _log) = (files, server, log);

    public string Url => _server.Url;

    public static async Task<FuzzServer> StartAsync()
    {
        var files = Policies.Write();
        var log = new ServerLog(LogLevel.Error);
        var server = await TestServer.StartAsync(
            options =>
                options with
                {
                    MaxUploads = 2000,
                    Access = options.Access with { PolicyFile = Policies.FileIn(files) },
                },
            services => services.AddSingleton<ILoggerProvider>(log)
        );
        server.Services.GetRequiredService<NodeStatus>().Abilities = new NodeAbilities
        {
            Engines = ["fuzz 1"],
            Platforms = [Platform.LinuxAmd64],
            RecipeTypes = [RecipeTypes.Dockerfile],
            Networks = [NetworkModes.Isolated, NetworkModes.None],
        };
        return new FuzzServer(files, server, log);
    }

    public long Memory()
    {
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    public IReadOnlyList<string> Errors() => _log.Lines;

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _files.Delete(recursive: true);
    }
}

/// <summary>The program itself: what <c>KILN_NATIVE</c> names, else the one that was built beside the tests.</summary>
internal sealed class FuzzProgram : IFuzzTarget
{
    private readonly DirectoryInfo _files;
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _errors = new();

    private FuzzProgram(DirectoryInfo files, Process process, string url)
    {
        (_files, _process, Url) = (files, process, url);
        process.OutputDataReceived += (_, line) => Note(line.Data);
        process.ErrorDataReceived += (_, line) => Note(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    public string Url { get; }

    public static async Task<FuzzProgram> StartAsync()
    {
        var files = Policies.Write();
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var url = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}";
        listener.Stop();
        var program = Environment.GetEnvironmentVariable("KILN_NATIVE") is { Length: > 0 } native
            ? native
            : Path.Combine(SourceTree.Root, "artifacts", "bin", "Kiln.Cli", "debug", "kiln");
        string[] words =
        [
            "serve",
            "--no-builds",
            "--urls",
            url,
            "--data",
            Path.Combine(files.FullName, "data"),
            "--policy",
            Policies.FileIn(files),
        ];
        var start = new ProcessStartInfo(program, words)
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var server = new FuzzProgram(files, Process.Start(start)!, url);
        await server.WaitAsync();
        return server;
    }

    public long Memory()
    {
        var line = File.ReadLines($"/proc/{_process.Id}/status").First(l => l.StartsWith("VmRSS:"));
        return long.Parse(line["VmRSS:".Length..^"kB".Length].Trim(), CultureInfo.InvariantCulture) << 10;
    }

    public IReadOnlyList<string> Errors() => [.. _errors];

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _files.Delete(recursive: true);
    }

    private void Note(string? line)
    {
        if (line is not null && (line.StartsWith("fail:") || line.StartsWith("crit:")))
        {
            _errors.Enqueue(line);
        }
    }

    private async Task WaitAsync()
    {
        using var http = new HttpClient();
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (true)
        {
            try
            {
                using var answer = await http.GetAsync(Url + "/v2/", patience.Token);
                return;
            }
            catch (HttpRequestException)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50), patience.Token);
            }
        }
    }
}

file static class Policies
{
    public static DirectoryInfo Write()
    {
        var files = Directory.CreateTempSubdirectory("kiln-fuzz-");
        File.WriteAllText(FileIn(files), FuzzWorld.Policy);
        File.WriteAllText(Path.Combine(files.FullName, "users"), AccessServer.Htpasswd("root", "alice"));
        return files;
    }

    public static string FileIn(DirectoryInfo files) => Path.Combine(files.FullName, "policy.yaml");
}
