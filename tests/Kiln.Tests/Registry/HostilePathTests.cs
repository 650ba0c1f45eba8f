using System.Globalization;
using System.Net;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Paths and queries that were made to get somewhere else: an error of the OCI kind, and nothing is touched.</summary>
public sealed class HostilePathTests(ServerFixture fixture)
{
    private const string Zeros = "0000000000000000000000000000000000000000000000000000000000000000";

    private static readonly string[] Detours =
    [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fkiln.db",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..",
        "%252e%252e",
        "..;",
        "a%0d%0aX-Injected:%20yes",
        "%ff%fe",
        "%c0%ae%c0%ae",
        "a b",
        "a%20b",
        "~root",
        "$(id)",
        "'%20OR%20'1'='1",
        "{}",
        "*",
    ];

    public static TheoryData<string, string> Traversals =>
        [
            .. from detour in Detours
            from path in new[]
            {
                $"{detour}/manifests/1",
                $"a/{detour}/b/manifests/1",
                $"a/{detour}/tags/list",
                $"{detour}/blobs/sha256:{Zeros}",
                $"{detour}/referrers/sha256:{Zeros}",
                $"a/manifests/{detour}",
                $"a/blobs/{detour}",
                $"a/blobs/sha256:{detour}",
                $"a/blobs/uploads/{detour}",
                $"a/referrers/{detour}",
                $"a/_build/v1/jobs/{detour}",
                $"{detour}",
            }
            from method in new[] { "GET", "PUT" }
            select new TheoryDataRow<string, string>(method, path),
        ];

    [Theory]
    [MemberData(nameof(Traversals), DisableDiscoveryEnumeration = true)]
    public async Task No_part_of_a_path_leads_out_of_it(string method, string path)
    {
        // By hand: an HTTP library would tidy the path up, and so would a proxy.
        await using var client = await RawClient.ConnectAsync(fixture.Server.OwnUrl);
        await client.SendAsync(
            $"{method} /v2/{path.Replace(" ", "%09")} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        );

        var answer = await client.ReceiveAsync();

        var status = int.Parse(answer.Split(' ')[1], CultureInfo.InvariantCulture);
        Assert.True(status is 400 or 404 or 405, answer);
        Assert.Contains("{\"errors\":[{\"code\":\"", answer, StringComparison.Ordinal);
        Assert.DoesNotContain("X-Injected", answer.Split("\r\n\r\n")[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/x/../v2/", 404)]
    [InlineData("/%76%32/", 404)]
    [InlineData("/./v2/a/tags/list", 404)]
    [InlineData("//v2/", 404)]
    [InlineData("/v2", 200)]
    [InlineData("/v2/", 200)]
    [InlineData("/v2/?x", 200)]
    [InlineData("http://localhost/v2/", 200)]
    [InlineData("http://localhost/v2/a/../b/tags/list", 400)]
    [InlineData("http://localhost/v2/UPPER/tags/list", 400)]
    [InlineData("http://localhost", 404)]
    public async Task A_path_is_taken_as_it_was_sent(string target, int status)
    {
        await using var client = await RawClient.ConnectAsync(fixture.Server.Url);

        await client.SendAsync($"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");

        Assert.StartsWith($"HTTP/1.1 {status} ", await client.ReceiveAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("tags/list?last=%00")]
    [InlineData("tags/list?last=a%0ab")]
    [InlineData("referrers/sha256:" + Zeros + "?artifactType=%00")]
    [InlineData("tags/list?ns=%07")]
    public async Task A_parameter_with_control_characters_is_refused(string path)
    {
        using var response = await fixture.Http.GetAsync($"a/b/{path}");

        await response.ShouldFailAsync(400, "UNSUPPORTED");
    }

    [Theory]
    [InlineData(255, 201, "")]
    [InlineData(256, 400, "NAME_INVALID")]
    public async Task A_name_may_have_255_characters(int length, int status, string code)
    {
        var name = $"long/{Samples.Repository()}/";
        name += new string('a', length - name.Length);
        using var response = await fixture.Http.SendAsync(
            "POST",
            $"{name}/blobs/uploads/?digest={Digest.EmptyJson}",
            Samples.EmptyJson,
            MediaTypes.OctetStream
        );

        if (code.Length > 0)
        {
            await response.ShouldFailAsync(status, code);
            return;
        }

        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(Samples.EmptyJson, await fixture.Http.GetByteArrayAsync($"{name}/blobs/{Digest.EmptyJson}"));
    }

    [Theory]
    [InlineData("a")]
    [InlineData("a.b-c_d__e--f---g/h")]
    [InlineData("manifests/tags/blobs/uploads/referrers")]
    [InlineData("blobs/uploads")]
    [InlineData("0/1")]
    public async Task A_name_that_follows_the_grammar_works_whatever_it_looks_like(string name)
    {
        await using var server = await TestServer.StartAsync();
        var manifest = await server.Http.PushAsync(name, Samples.Image(), "list");

        Assert.Equal((string[])["list"], await server.Http.TagsAsync(name));
        Assert.Equal(
            HttpStatusCode.OK,
            await server.Http.StatusAsync("HEAD", $"{name}/manifests/{manifest["digest"]}")
        );
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"{name}/blobs/{Digest.EmptyJson}"));
    }

    [Theory]
    [InlineData("a..b")]
    [InlineData("a___b")]
    [InlineData(".a")]
    [InlineData("a.")]
    [InlineData("-a")]
    [InlineData("a/")]
    [InlineData("a//b")]
    [InlineData("_a")]
    [InlineData("a._b")]
    [InlineData("ä")]
    public async Task A_name_that_breaks_the_grammar_is_refused(string name)
    {
        using var response = await fixture.Http.GetAsync($"{name}/tags/list");

        await response.ShouldFailAsync(400, "NAME_INVALID");
    }

    [Theory]
    [InlineData(128, 201)]
    [InlineData(129, 400)]
    public async Task A_tag_may_have_128_characters(int length, int status)
    {
        var repository = Samples.Repository();
        await fixture.Http.PushBlobAsync(repository, Samples.EmptyJson);

        using var response = await fixture.Http.PutManifestAsync(
            repository,
            new string('_', length),
            Samples.Image().Encode()
        );

        Assert.Equal(status, (int)response.StatusCode);
    }
}
