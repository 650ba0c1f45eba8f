using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Metadata;

/// <summary>What is PostgreSQL's alone: where it is, who may in, several servers on it, its own end.</summary>
public sealed class PostgresTests
{
    [Fact]
    public async Task Servers_that_start_at_once_migrate_once_and_see_each_others_writes()
    {
        var options = Options();

        var servers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => StartAsync(options)));
        try
        {
            await servers[0].Http.PushBlobAsync("a/b", Samples.EmptyJson);
            for (var i = 0; i < servers.Length; i++)
            {
                using var put = await servers[i].Http.PutManifestAsync("a/b", $"t{i}", Samples.Image().Encode());
                Assert.Equal(HttpStatusCode.Created, put.StatusCode);
            }

            foreach (var server in servers)
            {
                Assert.Equal((string[])["t0", "t1", "t2", "t3"], await server.Http.TagsAsync("a/b"));
            }
        }
        finally
        {
            await Task.WhenAll(servers.Select(server => server.DisposeAsync().AsTask()));
        }
    }

    [Fact]
    public async Task Writers_on_two_servers_lose_nothing_of_each_other()
    {
        var options = Options();
        await using var one = await StartAsync(options);
        await using var two = await StartAsync(options);
        await one.Http.PushBlobAsync("seed", Samples.EmptyJson);
        var tags = Enumerable.Range(100, 60).Select(i => $"t{i}").ToArray();

        // The repository itself, its link to the config and the tag that all move come from both at once.
        await Task.WhenAll(
            tags.Select(
                async (tag, i) =>
                {
                    var http = i % 2 == 0 ? one.Http : two.Http;
                    var mount = await http.SendAsync(
                        "POST",
                        $"busy/blobs/uploads/?mount={Digest.Of(Samples.EmptyJson)}&from=seed"
                    );
                    Assert.Equal(HttpStatusCode.Created, mount.StatusCode);
                    using var put = await http.PutManifestAsync("busy", tag, Samples.Image().Encode());
                    Assert.Equal(HttpStatusCode.Created, put.StatusCode);
                    using var moving = await http.PutManifestAsync("busy", "moving", Samples.Image().Encode());
                    Assert.Equal(HttpStatusCode.Created, moving.StatusCode);
                }
            )
        );

        Assert.Equal((string[])["moving", .. tags], await one.Http.TagsAsync("busy"));
        Assert.Equal(await one.Http.TagsAsync("busy"), await two.Http.TagsAsync("busy"));
    }

    [Fact]
    public async Task A_database_that_ends_all_connections_is_used_again_at_once()
    {
        var options = Options();
        await using var server = await StartAsync(options);
        await server.Http.PushAsync("a", Samples.Image(), "1");

        TestState.RunInPostgres(
            $"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = '{Name(options)}'"
        );

        await server.Http.PushAsync("a", Samples.Image(), "2");
        Assert.Equal((string[])["1", "2"], await server.Http.TagsAsync("a"));
    }

    [Theory]
    [InlineData("/_catalog?n=3&last=%00")]
    [InlineData("/_catalog?n=3&last=%ED%A0%80")]
    [InlineData("a/tags/list?last=a%00b")]
    [InlineData("a/_build/v1/jobs?tag=%00&state=%00&last=%00")]
    public async Task Text_that_postgres_cannot_keep_is_no_servers_fault(string path)
    {
        await using var server = await StartAsync(Options());
        await server.Http.PushAsync("a", Samples.Image(), "1");

        using var response = await server.Http.GetAsync(new Uri(path.TrimStart('/'), UriKind.Relative));

        Assert.True((int)response.StatusCode < 500, await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("postgres://kiln:secret@localhost/x", "--database-password-file")]
    [InlineData("postgres://kiln@localhost/", "names no database")]
    [InlineData("postgres://kiln@localhost/x?sslmoed=require", "'sslmoed'")]
    [InlineData("postgres://kiln@localhost/x?sslmode=perhaps", "'perhaps'")]
    [InlineData("postgres://kiln@localhost/x?schema=a;drop", "schema")]
    [InlineData("postgres://kiln@127.0.0.1:1/x", "127.0.0.1:1/x")]
    [InlineData("mysql://kiln@localhost/x", "postgres://")]
    public async Task A_database_that_cannot_be_used_is_told_in_a_sentence(string address, string part)
    {
        var fault = await Assert.ThrowsAsync<ServerStartException>(() =>
            StartAsync(o => o with { Database = address, DatabasePasswordFile = null })
        );

        Assert.Contains(part, fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_wrong_password_is_told_and_not_repeated()
    {
        var options = Options();
        var file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, "not-this-one\n");

        var fault = await Assert.ThrowsAsync<ServerStartException>(() =>
            StartAsync(o => options(o) with { DatabasePasswordFile = file })
        );

        Assert.Contains("password", fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("not-this-one", fault.Message, StringComparison.Ordinal);
        File.Delete(file);
    }

    private static Task<TestServer> StartAsync(Func<ServerOptions, ServerOptions> options) =>
        TestServer.StartAsync(options);

    /// <summary>Options of servers that share a database which nobody else uses.</summary>
    private static Func<ServerOptions, ServerOptions> Options()
    {
        var postgres = TestState.RequirePostgres();
        var address = postgres.NewAddress();
        var schema = address[(address.LastIndexOf('=') + 1)..];
        return options =>
            options with
            {
                Database = $"{address}&application_name={schema}",
                DatabasePasswordFile = postgres.PasswordFile,
                KeysFile = TestState.KeysFile,
            };
    }

    private static string Name(Func<ServerOptions, ServerOptions> options)
    {
        var address = options(new ServerOptions { DataDirectory = "/" }).Database!;
        return address[(address.LastIndexOf('=') + 1)..];
    }
}
