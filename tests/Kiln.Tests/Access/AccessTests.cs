using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Kiln.Server;
using Kiln.Server.Access;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Access;

/// <summary>Who is let in, by which name, and where the server listens at all.</summary>
public sealed class AccessTests(ServerFixture fixture)
{
    [Theory]
    [InlineData("localhost", 200)]
    [InlineData("localhost:1234", 200)]
    [InlineData("127.0.0.1", 200)]
    [InlineData("127.0.0.1:5000", 200)]
    [InlineData("[::1]:5000", 200)]
    [InlineData("evil.example", 421)]
    [InlineData("evil.example:5000", 421)]
    [InlineData("localhost.evil.example", 421)]
    [InlineData("192.168.1.1", 421)]
    public async Task The_server_answers_to_its_own_names_only(string host, int status)
    {
        using var response = await fixture.Http.SendAsync("GET", "", headers: ("Host", host));

        if (status == 200)
        {
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
        else
        {
            await response.ShouldFailAsync(status, "DENIED");
        }
    }

    [Fact]
    public async Task A_process_of_another_user_is_refused_and_the_own_user_is_not()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root can start a client as another user");
        Assert.SkipUnless(File.Exists("/usr/bin/setpriv"), "setpriv (util-linux) is not installed");
        Assert.SkipUnless(File.Exists("/usr/bin/curl"), "curl is not installed");

        var foreign = await RunAsync("setpriv", "--reuid=65534", "--clear-groups", "curl", "-si", Url);
        var own = await RunAsync("curl", "-si", Url);

        Assert.StartsWith("HTTP/1.1 403", foreign);
        Assert.Contains("\"code\":\"DENIED\"", foreign);
        Assert.Contains("uid 65534", foreign);
        Assert.StartsWith("HTTP/1.1 200", own);
    }

    [Fact]
    public async Task A_request_from_a_socket_that_its_owner_closed_is_not_taken_for_root()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root can start a client as another user");
        Assert.SkipUnless(File.Exists("/usr/bin/setpriv"), "setpriv (util-linux) is not installed");
        Assert.SkipUnless(File.Exists("/bin/bash"), "bash is not installed");
        var repository = Samples.Repository();
        var target = new Uri(fixture.Server.Url);
        var request =
            $"POST /v2/{repository}/blobs/uploads/ HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n";
        var script = $"for i in $(seq 50); do printf '{request}' > /dev/tcp/127.0.0.1/{target.Port}; done";

        await RunAsync("setpriv", "--reuid=65534", "--clear-groups", "bash", "-c", script);

        using var response = await fixture.Http.GetAsync($"{repository}/tags/list");
        await response.ShouldFailAsync(404, "NAME_UNKNOWN");
    }

    [Fact]
    public void The_owner_is_read_from_the_row_with_both_ends()
    {
        var table =
            """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 0100007F:1388 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 20 0 0 10 -1
               1: 0100007F:C001 0100007F:1388 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000000000000000 20 0 0 10 -1
               2: 0100007F:C002 0100007F:1388 04 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 0 0 10 -1
            """u8;
        var server = IPEndPoint.Parse("127.0.0.1:5000");

        Assert.Equal((1000u, 4242ul), PeerSockets.FindIn(table, Ends(49153, server)));
        Assert.Equal((0u, 0ul), PeerSockets.FindIn(table, Ends(49154, server)));
        Assert.Null(PeerSockets.FindIn(table, Ends(49155, server)));
        Assert.Equal(
            " 0000000000000000FFFF00000100007F:C001 0000000000000000FFFF00000100007F:1388 ",
            PeerSockets.Ends(IPEndPoint.Parse("127.0.0.1:49153"), server, v6: true)
        );

        static string Ends(int port, IPEndPoint server) =>
            PeerSockets.Ends(new IPEndPoint(IPAddress.Loopback, port), server, v6: false);
    }

    [Theory]
    [InlineData("127.0.0.1", false)]
    [InlineData("127.0.0.1", true)]
    [InlineData("::1", true)]
    public async Task The_kernel_asked_for_one_socket_says_what_its_tables_say(string address, bool dual)
    {
        using var listener = new TcpListener(IPAddress.Parse(address), 0);
        listener.Start();
        var server = (IPEndPoint)listener.LocalEndpoint;
        using var client = new Socket(
            dual ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork,
            SocketType.Stream,
            ProtocolType.Tcp
        );
        // As .NET's own client does it: IPv4 through a socket of IPv6.
        var target = dual ? new IPEndPoint(server.Address.MapToIPv6(), server.Port) : server;
        if (dual)
        {
            client.DualMode = true;
        }

        await client.ConnectAsync(target, TestContext.Current.CancellationToken);
        using var accepted = await listener.AcceptSocketAsync(TestContext.Current.CancellationToken);
        var peer = (IPEndPoint)accepted.RemoteEndPoint!;

        var row = PeerSockets.FindInTables(peer, server);
        var said = SocketDiagnosis.Find(peer, server);

        Assert.NotNull(row);
        Assert.SkipWhen(said is null, "this kernel does not answer sock_diag(7)");
        Assert.Equal(row, said);
        // Neither a connection that is not there, nor who listens where nobody is connected.
        Assert.Null(SocketDiagnosis.Find(new IPEndPoint(peer.Address, 1), server));
        Assert.Null(SocketDiagnosis.Find(server, new IPEndPoint(peer.Address, 1)));
    }

    [Fact]
    public async Task IPv6_loopback_is_loopback_too()
    {
        await using var server = await TestServer.StartAsync(options => options with { Urls = "http://[::1]:0" });

        using var response = await server.Http.GetAsync("");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Fact]
    public async Task A_port_that_is_taken_is_named()
    {
        var directory = Directory.CreateTempSubdirectory("kiln-test-").FullName;
        var options = new ServerOptions { DataDirectory = directory, Urls = fixture.Server.Url };

        var refused = await Assert.ThrowsAsync<ServerStartException>(() => KilnServer.RunAsync(options, default));

        Assert.Contains(fixture.Server.Url, refused.Message);
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void A_data_directory_in_use_is_refused()
    {
        var options = new ServerOptions { DataDirectory = fixture.Server.DataDirectory, Urls = "http://127.0.0.1:0" };

        var refused = Assert.Throws<ServerStartException>(() => KilnServer.Create(options));

        Assert.Contains("in use", refused.Message);
    }

    [Fact]
    public void A_data_directory_that_cannot_be_made_is_named()
    {
        var options = new ServerOptions { DataDirectory = "/proc/kiln", Urls = "http://127.0.0.1:0" };

        var refused = Assert.Throws<ServerStartException>(() => KilnServer.Create(options));

        Assert.Contains("/proc/kiln", refused.Message);
    }

    private string Url => fixture.Server.Url + "/v2/";

    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, UseShellExecute = false };
        using var process = Process.Start(start)!;
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return output;
    }
}
