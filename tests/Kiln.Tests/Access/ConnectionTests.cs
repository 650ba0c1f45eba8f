using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Kiln.Server;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Access;

/// <summary>Where the server may listen, TLS, proxies, and how much one caller may ask.</summary>
public sealed class ConnectionTests
{
    [Theory]
    [InlineData("http://0.0.0.0:0", "--policy")]
    [InlineData("http://127.0.0.1:0;http://[::]:0", "--insecure-anonymous")]
    [InlineData("https://127.0.0.1:0", "--tls-cert")]
    [InlineData("http://example.org:5000", "write an address")]
    [InlineData("http://*:5000", "write an address")]
    [InlineData("ftp://127.0.0.1", "write an address")]
    [InlineData("nonsense", "write an address")]
    public void What_would_let_others_in_unasked_does_not_start(string urls, string why)
    {
        var directory = Path.Combine(Path.GetTempPath(), "kiln-never-made");
        var options = new ServerOptions { DataDirectory = directory, Urls = urls };

        var refused = Assert.Throws<ServerStartException>(() => KilnServer.Create(options));

        Assert.Contains(why, refused.Message);
        Assert.False(Directory.Exists(directory));
    }

    [Fact]
    public void All_contradictions_are_told_at_once()
    {
        var options = new ServerOptions
        {
            DataDirectory = "/never",
            Urls = "http://127.0.0.1:0",
            Access = new AccessOptions
            {
                PolicyFile = "/x",
                InsecureAnonymous = true,
                CertificateFile = "/x",
                PublicUrl = "registry.example.org",
            },
        };

        var refused = Assert.Throws<ServerStartException>(() => KilnServer.Create(options));

        Assert.Contains("leave one out", refused.Message);
        Assert.Contains("no address begins with https://", refused.Message);
        Assert.Contains("public URL", refused.Message);
    }

    [Fact]
    public async Task Insecure_anonymous_lets_everybody_do_everything()
    {
        await using var server = await TestServer.StartAsync(o =>
            o with
            {
                Urls = "http://0.0.0.0:0",
                Access = o.Access with { InsecureAnonymous = true },
            }
        );
        var url = $"http://127.0.0.1:{new Uri(server.Url).Port}/v2/";
        using var http = new HttpClient { BaseAddress = new Uri(url) };

        using var response = await http.SendAsync(
            "POST",
            "a/blobs/uploads/",
            headers: ("X-Forwarded-For", "192.0.2.1")
        );

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
    }

    [Theory]
    [InlineData("X-Forwarded-For", "192.0.2.1")]
    [InlineData("Forwarded", "for=192.0.2.1")]
    [InlineData("Via", "1.1 proxy")]
    [InlineData("Origin", "http://evil.example")]
    public async Task The_own_user_is_not_trusted_for_what_others_asked(string header, string value)
    {
        await using var server = await TestServer.StartAsync();

        using var response = await server.Http.SendAsync("GET", "", headers: (header, value));

        await response.ShouldFailAsync(403, "DENIED");
    }

    [Theory]
    [InlineData("127.0.0.0/8", "203.0.113.9", "https://registry.example.org")]
    [InlineData("10.0.0.0/8", "127.0.0.1", "http://")]
    public async Task A_proxys_word_counts_where_the_proxy_is_named(string trusted, string address, string origin)
    {
        await using var server = await AccessServer.StartAsync(change: o =>
            o with
            {
                Access = o.Access with { TrustedProxies = [trusted] },
            }
        );

        using var response = await server.SendAsync(
            "Bearer wrong",
            "GET",
            "team/app/tags/list",
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "registry.example.org")
        );

        Assert.Contains($"realm=\"{origin}", response.Header("WWW-Authenticate"));
        Assert.Equal(address, (string)server.Audit()[^1]["address"]!);
    }

    [Fact]
    public async Task Too_many_requests_get_429_with_a_time_and_others_are_not_held_up()
    {
        await using var server = await AccessServer.StartAsync(
            AccessServer.Policy.Replace(
                "limits:",
                "limits:\n  requests-per-second: 1\n  burst-seconds: 3\n  anonymous-requests-per-second: 1"
            )
        );
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(HttpStatusCode.OK, await PingAsync(server, AccessServer.Basic("all")));
        }

        using var refused = await server.SendAsync(AccessServer.Basic("all"), "GET", "");
        await refused.ShouldFailAsync(429, "TOOMANYREQUESTS");
        Assert.InRange(int.Parse(refused.Header("Retry-After")!), 1, 3);
        Assert.Equal(HttpStatusCode.OK, await PingAsync(server, AccessServer.Basic("pull")));
        Assert.Equal(HttpStatusCode.Unauthorized, await PingAsync(server, null));
    }

    [Fact]
    public async Task Guessing_passwords_is_stopped_and_those_who_are_logged_in_are_not()
    {
        await using var server = await AccessServer.StartAsync(
            AccessServer.Policy.Replace("failed-logins-per-minute: 1000", "failed-logins-per-minute: 3")
        );
        Assert.Equal(HttpStatusCode.OK, await PingAsync(server, AccessServer.Basic("all")));
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(
                HttpStatusCode.Unauthorized,
                await PingAsync(server, AccessServer.Basic("pull", $"guess {i}"))
            );
        }

        using var refused = await server.SendAsync(AccessServer.Basic("pull"), "GET", "");
        await refused.ShouldFailAsync(429, "TOOMANYREQUESTS");
        using var token = await server.SendAsync(AccessServer.Basic("pull"), "GET", "/token");
        await token.ShouldFailAsync(429, "TOOMANYREQUESTS");
        Assert.InRange(int.Parse(refused.Header("Retry-After")!), 1, 60);
        Assert.Equal(HttpStatusCode.OK, await PingAsync(server, AccessServer.Basic("all")));
    }

    [Fact]
    public async Task Tls_is_1_2_or_newer_and_takes_new_certificates_without_a_restart()
    {
        var directory = Directory.CreateTempSubdirectory("kiln-tls-").FullName;
        var (certificate, key) = (Path.Combine(directory, "cert.pem"), Path.Combine(directory, "key.pem"));
        Issue("first", certificate, key);
        var time = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(56));
        await using var server = await TestServer.StartAsync(
            o =>
                o with
                {
                    Urls = "https://127.0.0.1:0",
                    Access = o.Access with { CertificateFile = certificate, KeyFile = key },
                },
            services => services.AddSingleton<TimeProvider>(time)
        );
        Assert.Equal("CN=first", await SubjectAsync(server.Url));

        await File.WriteAllTextAsync(certificate, "nonsense");
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal("CN=first", await SubjectAsync(server.Url));

        Issue("second", certificate, key);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal("CN=second", await SubjectAsync(server.Url));

#pragma warning disable SYSLIB0039, CA5397 // what must not work
        await Assert.ThrowsAnyAsync<Exception>(() => SubjectAsync(server.Url, SslProtocols.Tls11));
#pragma warning restore SYSLIB0039, CA5397
        Directory.Delete(directory, recursive: true);
    }

    private static async Task<HttpStatusCode> PingAsync(AccessServer server, string? authorization)
    {
        using var response = await server.SendAsync(authorization, "GET", "");
        return response.StatusCode;
    }

    private static async Task<string> SubjectAsync(string url, SslProtocols protocols = SslProtocols.None)
    {
        var subject = "";
        using var handler = new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions
            {
                EnabledSslProtocols = protocols,
                RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                {
                    // Self-signed; which one it is, is what the test asks.
                    subject = certificate!.Subject;
                    return subject.StartsWith("CN=", StringComparison.Ordinal);
                },
            },
        };
        using var http = new HttpClient(handler);
        using var response = await http.GetAsync(new Uri(url + "/v2/"));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return subject;
    }

    private static void Issue(string name, string certificateFile, string keyFile)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        using var certificate = request.CreateSelfSigned(
            new DateTimeOffset(2020, 1, 1, 0, 0, 0, TimeSpan.Zero),
            new DateTimeOffset(2100, 1, 1, 0, 0, 0, TimeSpan.Zero)
        );
        File.WriteAllText(certificateFile, certificate.ExportCertificatePem());
        File.WriteAllText(keyFile, key.ExportPkcs8PrivateKeyPem());
    }
}
