using System.Net;
using System.Text;
using Kiln.Cli;
using Kiln.Tests.Cli;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Access;

/// <summary>Tokens for machines, from <c>kiln token issue</c> to <c>kiln token revoke</c>.</summary>
public sealed class MachineTokenTests : IAsyncLifetime
{
    private AccessServer? _server;

    private AccessServer Server => _server!;

    public async ValueTask InitializeAsync() => _server = await AccessServer.StartAsync();

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Fact]
    public async Task A_token_opens_what_it_was_issued_for_until_it_is_revoked()
    {
        var secret = await IssueAsync("ci", "ci/**", "pull,push");
        Assert.Matches("^kiln_[A-Za-z0-9_-]{43}$", secret);

        foreach (var login in new[] { AccessServer.Basic("anything", secret), $"Bearer {secret}" })
        {
            Assert.Equal(202, await StatusAsync(login, "POST", "ci/app/blobs/uploads/"));
            Assert.Equal(403, await StatusAsync(login, "POST", "team/app/blobs/uploads/"));
            Assert.Equal(403, await StatusAsync(login, "DELETE", "ci/app/manifests/x"));
        }

        var bearer = await Server.TokenAsync(AccessServer.Basic("x", secret), "repository:ci/app:pull,push,delete");
        Assert.Equal(202, await StatusAsync(bearer, "POST", "ci/app/blobs/uploads/"));

        await RunAsync("token", "revoke", "ci");

        Assert.Equal(401, await StatusAsync(bearer, "POST", "ci/app/blobs/uploads/"));
        Assert.Equal(401, await StatusAsync($"Bearer {secret}", "POST", "ci/app/blobs/uploads/"));
        Assert.Equal(401, await StatusAsync(AccessServer.Basic("anything", secret), "POST", "ci/app/blobs/uploads/"));
    }

    [Fact]
    public async Task A_token_ends_when_it_was_to_and_so_does_what_was_given_for_it()
    {
        var secret = await IssueAsync("short", "ci/**", "pull", "120s");
        var answer = await Server.TokenAnswerAsync(AccessServer.Basic("x", secret), "repository:ci/app:pull");
        Assert.Equal(120, (int)answer["expires_in"]!);
        Assert.Equal(404, await StatusAsync($"Bearer {secret}", "GET", "ci/app/tags/list"));

        Server.Time.Advance(TimeSpan.FromSeconds(120));

        Assert.Equal(401, await StatusAsync($"Bearer {secret}", "GET", "ci/app/tags/list"));
        Assert.Equal(401, await StatusAsync($"Bearer {answer["token"]}", "GET", "ci/app/tags/list"));
    }

    [Fact]
    public async Task The_list_tells_all_but_the_secret()
    {
        var secret = await IssueAsync("ci", "ci/**", "pull");
        var before = await RunAsync("token", "list");
        await StatusAsync($"Bearer {secret}", "GET", "ci/app/tags/list");
        var after = await RunAsync("token", "list");

        Assert.Matches(@"ci +ci/\*\* +pull +2027-02-21 08:00Z +never +uid:\d+", before);
        Assert.Matches(@"ci +ci/\*\* +pull +2027-02-21 08:00Z +2026-11-23 08:00Z", after);
        Assert.DoesNotContain(secret, after);
        Assert.DoesNotContain(secret[5..], await File.ReadAllTextAsync(Server.AuditFile));
        Assert.DoesNotContain(secret[5..], Encoding.Latin1.GetString(await DatabaseAsync()));
    }

    [Theory]
    [InlineData("ci", "Ci/**", "pull", "30d", "the pattern")]
    [InlineData("ci", "ci/**", "pul", "30d", "no action")]
    [InlineData("ci", "users/{user}/**", "pull", "30d", "{user}")]
    [InlineData("C I", "ci/**", "pull", "30d", "name")]
    [InlineData("ci", "ci/**", "pull", "soon", "no time")]
    [InlineData("ci", "ci/**", "pull", "0s", "expired already")]
    public async Task A_wrong_request_is_refused_with_a_reason(
        string name,
        string pattern,
        string action,
        string expires,
        string why
    )
    {
        var error = new StringWriter();
        var code = await CommandLine.RunAsync(
            [
                "token",
                "issue",
                name,
                "--repository",
                pattern,
                "--action",
                action,
                "--expires",
                expires,
                "--registry",
                Server.Host,
            ],
            TestShell.Create(error: error)
        );

        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains(why, error.ToString());
    }

    [Fact]
    public async Task A_name_is_given_once()
    {
        await IssueAsync("ci", "ci/**", "pull");
        var error = new StringWriter();

        Assert.NotEqual(
            0,
            await CommandLine.RunAsync(
                ["token", "issue", "ci", "--repository", "x", "--action", "pull", "--registry", Server.Host],
                TestShell.Create(error: error)
            )
        );
        Assert.Contains("revoke it first", error.ToString());
    }

    [Fact]
    public async Task A_web_page_cannot_issue_one_by_a_form()
    {
        using var form = await Server.Http.SendAsync("POST", "/admin/v1/tokens", "{}"u8.ToArray(), "text/plain");
        await form.ShouldFailAsync(400, "UNSUPPORTED");
        using var page = await Server.Http.SendAsync(
            "POST",
            "/admin/v1/tokens",
            "{}"u8.ToArray(),
            "application/json",
            ("Origin", "http://evil.example")
        );
        await page.ShouldFailAsync(401, "UNAUTHORIZED");
    }

    [Fact]
    public async Task Without_access_control_there_is_nothing_to_issue()
    {
        await using var open = await TestServer.StartAsync();
        using var response = await open.Http.SendAsync(
            "POST",
            "/admin/v1/tokens",
            """{"name":"a","repositories":["**"],"actions":["pull"]}"""u8.ToArray(),
            "application/json"
        );

        await response.ShouldFailAsync(400, "UNSUPPORTED");
    }

    private async Task<string> IssueAsync(string name, string pattern, string actions, string expires = "90d") =>
        (
            await RunAsync("token", "issue", name, "--repository", pattern, "--action", actions, "--expires", expires)
        ).Trim();

    private async Task<string> RunAsync(params string[] arguments)
    {
        var (output, error) = (new StringWriter(), new StringWriter());
        var code = await CommandLine.RunAsync(
            [.. arguments, "--registry", Server.Host],
            TestShell.Create(output, error)
        );
        Assert.True(code == 0, error.ToString());
        return output.ToString();
    }

    private async Task<int> StatusAsync(string authorization, string method, string path)
    {
        using var response = await Server.SendAsync(authorization, method, path);
        return (int)response.StatusCode;
    }

    private async Task<byte[]> DatabaseAsync()
    {
        using var all = new MemoryStream();
        foreach (var file in Directory.EnumerateFiles(Server.Server.DataDirectory, "kiln.db*"))
        {
            await using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            await stream.CopyToAsync(all);
        }

        return all.ToArray();
    }
}
