using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Kiln.Cli;
using Kiln.Tests.Cli;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Operation;

/// <summary>The program as its operator sees it: systemd's words, signals, log lines, and <c>--check</c>.</summary>
public sealed class ProcessTests
{
    private static readonly CancellationToken Cancel = TestContext.Current.CancellationToken;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    [Fact]
    public async Task A_stop_is_told_first_and_lets_what_runs_finish()
    {
        await using var server = await ServerProcess.StartAsync(
            [],
            new Dictionary<string, string> { ["KILN_OPERATING_STOP_DELAY"] = "1s" }
        );
        Assert.Contains($"MAINPID={server.Id}\n", await server.NotifiedAsync("READY=1"));
        await server.NotifiedAsync("WATCHDOG=1");
        using var http = new HttpClient { BaseAddress = new Uri(server.Url + "/v2/") };
        var content = Samples.Bytes(1000);
        var upload = await http.StartUploadAsync("stop/me");
        using var slow = new TcpClient();
        var address = new Uri(server.Url);
        await slow.ConnectAsync(address.Host, address.Port, Cancel);
        var stream = slow.GetStream();
        var head = $"PATCH {upload} HTTP/1.1\r\nHost: {address.Authority}\r\nContent-Length: 1000\r\n\r\n";
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head), Cancel);
        await stream.WriteAsync(content.AsMemory(0, 500), Cancel);

        server.Signal("TERM");
        await server.NotifiedAsync("STOPPING=1");

        // Within the delay it still answers, and says that it is about to go.
        using (var ready = await http.GetAsync(server.Url + "/readyz", Cancel))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
            Assert.Equal("not ready: stopping\n", await ready.Content.ReadAsStringAsync(Cancel));
        }

        await UntilRefusedAsync(address);
        await stream.WriteAsync(content.AsMemory(500), Cancel);
        var answer = new byte[1000];
        var length = await stream.ReadAsync(answer, Cancel);
        Assert.StartsWith("HTTP/1.1 202", Encoding.ASCII.GetString(answer, 0, length));
        Assert.Equal(0, await server.EndAsync(Patience));
    }

    [Fact]
    public async Task A_second_signal_ends_the_process_at_once()
    {
        await using var server = await ServerProcess.StartAsync(
            [],
            new Dictionary<string, string> { ["KILN_OPERATING_STOP_DELAY"] = "5m" }
        );

        server.Signal("TERM");
        await server.NotifiedAsync("STOPPING=1");
        server.Signal("TERM");

        Assert.Equal(143, await server.EndAsync(Patience));
    }

    [Fact]
    public async Task Json_log_lines_have_the_id_of_their_request_and_systemd_hears_of_a_reload()
    {
        await using var server = await ServerProcess.StartAsync(["--log-format", "json", "--access-log"]);
        await server.NotifiedAsync("READY=1");
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, server.Url + "/v2/a/manifests/none?secret=x");
        request.Headers.Add("X-Request-Id", "proxy-1");
        using (await http.SendAsync(request, Cancel)) { }

        server.Signal("HUP");
        await server.NotifiedAsync("RELOADING=1");
        await server.NotifiedAsync("READY=1");
        server.Signal("TERM");
        await server.EndAsync(Patience);

        var lines = server.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var logged = lines.Select(l => JsonDocument.Parse(l).RootElement).ToList();
        var line = logged.Single(l => l.GetProperty("State").TryGetProperty("RequestId", out _));
        var ids = line.GetProperty("Scopes")
            .EnumerateArray()
            .Select(s => s.TryGetProperty("RequestId", out var id) ? id.GetString() : null)
            .OfType<string>();
        Assert.Equal(["proxy-1"], ids);
        var access = line.GetProperty("State");
        Assert.Equal("proxy-1", access.GetProperty("RequestId").GetString());
        Assert.Equal("404", access.GetProperty("Status").ToString());
        Assert.Equal("/v2/a/manifests/none", access.GetProperty("Path").GetString());
        Assert.DoesNotContain("secret", server.Output);
    }

    [Fact]
    public async Task A_check_tells_all_that_is_wrong_and_changes_nothing()
    {
        var folder = Directory.CreateTempSubdirectory("kiln-check-").FullName;
        try
        {
            var config = Path.Combine(folder, "kiln.yaml");
            await File.WriteAllTextAsync(Path.Combine(folder, "policy.yaml"), "rules:\n  - { who: a }\n", Cancel);
            await File.WriteAllTextAsync(Path.Combine(folder, "file"), "", Cancel);
            await File.WriteAllTextAsync(
                config,
                """
                data: file/data
                urls: https://0.0.0.0:443
                policy: policy.yaml
                builds: { concurrent: 0 }
                database: postgres://kiln@/nowhere?host=/nonexistent
                operating: { management-url: "http://example.org:9090" }
                upstreams: [{ host: ghcr.io, user: a, password-file: none }]
                """,
                Cancel
            );

            var (code, _, said) = await RunAsync("serve", "--check", "--config", config);

            Assert.Equal(ExitCodes.Usage, code);
            Assert.Contains($"wrong: {config}:4: builds.concurrent", said);
            Assert.Contains("wrong: the management address 'http://example.org:9090' is not of the form", said);
            Assert.Contains($"wrong: {Path.Combine(folder, "policy.yaml")}:2: a rule needs", said);
            Assert.Contains("wrong: cannot use the database", said);
            Assert.Contains(
                $"wrong: the upstream ghcr.io has its credentials in {Path.Combine(folder, "none")}, which is not there",
                said
            );
            Assert.Contains("is a file", said);

            await File.WriteAllTextAsync(config, "data: data\n", Cancel);
            (code, var right, said) = await RunAsync("serve", "--check", "--config", config);

            Assert.Equal("", said);
            Assert.Equal(ExitCodes.Ok, code);
            Assert.Contains("right: data directory", right);
            Assert.False(Directory.Exists(Path.Combine(folder, "data")));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task UntilRefusedAsync(Uri address)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (true)
        {
            try
            {
                using var probe = new TcpClient();
                await probe.ConnectAsync(address.Host, address.Port, patience.Token);
            }
            catch (SocketException)
            {
                return;
            }

            await Task.Delay(20, patience.Token);
        }
    }

    private static async Task<(int Code, string Out, string Error)> RunAsync(params string[] arguments)
    {
        var (output, error) = (new StringWriter(), new StringWriter());
        var code = await CommandLine.RunAsync(arguments, TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }
}
