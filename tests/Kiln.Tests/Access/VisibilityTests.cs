using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Access;

/// <summary>Nobody learns what they may not see: not by mounting, not by lists, not by whether something is there.</summary>
public sealed class VisibilityTests : IAsyncLifetime
{
    private static readonly byte[] Secret = "only for the team"u8.ToArray();
    private AccessServer? _server;

    private AccessServer Server => _server!;

    public async ValueTask InitializeAsync()
    {
        _server = await AccessServer.StartAsync();
        foreach (var repository in new[] { "team/app", "other/app", "public/app" })
        {
            await PushAsync(repository, "1");
        }

        Assert.Equal(
            201,
            await StatusAsync("root", "POST", $"team/app/blobs/uploads/?digest={Digest.Of(Secret)}", Secret)
        );
    }

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Theory]
    [InlineData(null, "public/app")]
    [InlineData("nobody", "public/app")]
    [InlineData("pull", "public/app team/app")]
    [InlineData("not-pull", "public/app")]
    [InlineData("other", "other/app public/app")]
    [InlineData("root", "other/app public/app team/app")]
    public async Task The_catalog_lists_what_the_caller_may_pull(string? user, string expected)
    {
        // As clients do it: a token for the catalogue, which names no repositories.
        var authorization = await Server.TokenAsync(
            user is null ? null : AccessServer.Basic(user),
            "registry:catalog:*"
        );
        var names = new List<string>();
        for (var next = "/v2/_catalog?n=1"; next is not null; )
        {
            using var response = await Server.SendAsync(authorization, "GET", next);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            var page = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["repositories"]!.AsArray();
            names.AddRange(page.Select(n => (string)n!));
            next = response.Header("Link") is { } link ? link[1..link.IndexOf('>')] : null;
        }

        Assert.Equal(expected, string.Join(' ', names));
    }

    [Theory]
    [InlineData("team/app")]
    [InlineData("team/nothing-here")]
    public async Task A_repository_that_is_there_is_refused_like_one_that_is_not(string repository)
    {
        using var anonymous = await Server.SendAsync(null, "GET", $"{repository}/manifests/1");
        await anonymous.ShouldFailAsync(401, "UNAUTHORIZED");
        using var other = await Server.SendAsync(AccessServer.Basic("other"), "GET", $"{repository}/manifests/1");
        await other.ShouldFailAsync(403, "DENIED");
    }

    [Fact]
    public async Task Anonymous_reads_what_is_public_with_and_without_a_token()
    {
        using var direct = await Server.SendAsync(null, "GET", "public/app/manifests/1");
        Assert.Equal(HttpStatusCode.OK, direct.StatusCode);
        var token = await Server.TokenAsync(null, "repository:public/app:pull");
        using var withToken = await Server.SendAsync(token, "GET", "public/app/manifests/1");
        Assert.Equal(HttpStatusCode.OK, withToken.StatusCode);
        using var push = await Server.SendAsync(token, "POST", "public/app/blobs/uploads/");
        await push.ShouldFailAsync(401, "UNAUTHORIZED");
    }

    [Theory]
    [InlineData("&from=team/app")]
    [InlineData("&from=team/nothing-here")]
    [InlineData("")]
    public async Task A_blob_one_may_not_read_cannot_be_mounted(string from)
    {
        var path = $"other/app/blobs/uploads/?mount={Digest.Of(Secret)}{from}";

        Assert.Equal(202, await StatusAsync("other", "POST", path));
        Assert.Equal(404, await StatusAsync("other", "GET", $"other/app/blobs/{Digest.Of(Secret)}"));
    }

    [Theory]
    [InlineData("&from=team/app")]
    [InlineData("")]
    public async Task A_blob_one_may_read_can_be_mounted(string from)
    {
        Assert.Equal(
            201,
            await StatusAsync("root", "POST", $"other/app/blobs/uploads/?mount={Digest.Of(Secret)}{from}")
        );
        Assert.Equal(200, await StatusAsync("other", "GET", $"other/app/blobs/{Digest.Of(Secret)}"));
    }

    [Fact]
    public async Task A_token_for_the_target_alone_is_told_to_get_one_for_both_repositories()
    {
        var path = $"other/app/blobs/uploads/?mount={Digest.Of(Secret)}&from=team/app";
        const string both = "repository:other/app:pull,push repository:team/app:pull";

        var narrow = await Server.TokenAsync(AccessServer.Basic("root"), "repository:other/app:pull,push");
        using var refused = await Server.SendAsync(narrow, "POST", path);
        await refused.ShouldFailAsync(401, "UNAUTHORIZED");
        Assert.Contains($"scope=\"{both}\",error=\"insufficient_scope\"", refused.Header("WWW-Authenticate"));

        using var anonymous = await Server.SendAsync(null, "POST", path);
        Assert.Contains($"scope=\"{both}\"", anonymous.Header("WWW-Authenticate"));

        using var mounted = await Server.SendAsync(
            await Server.TokenAsync(AccessServer.Basic("root"), both),
            "POST",
            path
        );
        Assert.Equal(HttpStatusCode.Created, mounted.StatusCode);
    }

    [Fact]
    public async Task An_anonymous_mount_takes_nothing_from_beyond_the_token()
    {
        var token = await Server.TokenAsync(AccessServer.Basic("root"), "repository:other/app:pull,push");

        using var response = await Server.SendAsync(
            token,
            "POST",
            $"other/app/blobs/uploads/?mount={Digest.Of(Secret)}"
        );

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
    }

    [Fact]
    public async Task Everybody_has_a_place_of_their_own()
    {
        await PushAsync("users/other/app", "1", "other");

        Assert.Equal(200, await StatusAsync("other", "GET", "users/other/app/manifests/1"));
        Assert.Equal(403, await StatusAsync("pull", "GET", "users/other/app/manifests/1"));
        using var anonymous = await Server.SendAsync(null, "GET", "users/anonymous/app/manifests/1");
        Assert.Equal(HttpStatusCode.Unauthorized, anonymous.StatusCode);
    }

    private async Task PushAsync(string repository, string tag, string user = "root")
    {
        var body = Samples.Index().Encode();
        Assert.Equal(201, await StatusAsync(user, "PUT", $"{repository}/manifests/{tag}", body));
    }

    private async Task<int> StatusAsync(string user, string method, string path, byte[]? body = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        request.Headers.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic(user));
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
            request.Content.Headers.ContentType = new MediaTypeHeaderValue(
                method == "PUT" ? MediaTypes.OciIndex : MediaTypes.OctetStream
            );
        }

        using var response = await Server.Http.SendAsync(request);
        return (int)response.StatusCode;
    }
}
