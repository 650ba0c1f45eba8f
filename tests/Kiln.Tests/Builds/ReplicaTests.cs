using System.Net;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Access.Tokens;
using Kiln.Tests.Access;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>
/// Two servers on one database, and one bucket where blobs matter: who waits on one of them hears what the other commits, and
/// goes on there with what he began here.
/// </summary>
public sealed class ReplicaTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    [Fact]
    public async Task A_log_is_followed_on_one_server_while_the_other_builds()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;
        var job = await one.SubmitAsync("");

        var following = two.LogAsync(job.Id, "?follow=1");
        var lease = await one.Node.ClaimAsync();
        await one.Node.LogAsync(lease, "from the other\n");
        Assert.False(following.IsCompleted);
        await one.Node.SucceedAsync(lease);

        Assert.EndsWith("from the other\n", await following.WaitAsync(Patience), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_node_that_waits_beside_one_server_gets_what_the_other_was_asked_for()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;

        var waiting = two.Node.TryClaimAsync(wait: TimeSpan.FromMinutes(1));
        var job = await one.SubmitAsync("?tag=1");
        var lease = await waiting.WaitAsync(Patience);
        Assert.NotNull(lease);
        await two.Node.SucceedAsync(lease);

        Assert.Equal(BuildStates.Succeeded, (await one.GetAsync(job.Id)).State);
        Assert.NotNull(await one.TagAsync("1"));
    }

    [Fact]
    public async Task No_work_is_given_out_twice()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;
        for (var i = 0; i < 20; i++)
        {
            await one.SubmitAsync("", $"FROM scratch\nLABEL n={i}\n");
        }

        var claims = await Task.WhenAll(
            Enumerable.Range(0, 30).Select(i => Task.Run(() => (i % 2 == 0 ? one : two).Node.TryClaimAsync()))
        );

        var executions = claims.OfType<Lease>().Select(lease => lease.Execution).ToList();
        Assert.Equal(20, executions.Count);
        Assert.Equal(20, executions.Distinct(StringComparer.Ordinal).Count());
    }

    [Fact]
    public async Task Starting_a_server_takes_no_build_away_from_another_and_its_death_does()
    {
        var start = Starter();
        await using var one = await start();
        var job = await one.SubmitAsync("?tag=1");
        var lease = await one.Node.ClaimAsync();

        await using var two = await start();
        await two.Sweep.SweepAsync(TestContext.Current.CancellationToken);

        await one.Node.LogAsync(lease, "still mine\n");
        // As a server that was killed leaves it: its last word is old. (This one is alive, and may say another.)
        for (var tries = 0; tries < 20 && (await two.GetAsync(job.Id)).State == BuildStates.Running; tries++)
        {
            TestState.RunInPostgres(
                $"UPDATE {Schema(two)}.servers SET seen = seen - 60000 WHERE id <> '{await ServerIdAsync(two)}'"
            );
            await two.Sweep.SweepAsync(TestContext.Current.CancellationToken);
        }

        Assert.Equal(BuildStates.Queued, (await two.GetAsync(job.Id)).State);
        Assert.Contains("the server of this attempt has died", await two.LogAsync(job.Id), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_secret_that_came_in_here_is_opened_there()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;
        using var value = new ByteArrayContent("hunter2"u8.ToArray());
        using var answer = await one.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/secrets", UriKind.Relative),
            value
        );
        var secret = System.Text.Json.JsonSerializer.Deserialize(
            await answer.Content.ReadAsByteArrayAsync(),
            BuildJson.Default.SecretReceipt
        )!;
        await one.SubmitAsync($"?secret.git={secret.Ref}");

        var lease = await two.Node.ClaimAsync();

        Assert.Equal("hunter2", Encoding.UTF8.GetString(Assert.Single(lease.Task.Secrets!).Value));
    }

    [Fact]
    public async Task A_token_counts_on_both_servers_until_it_is_revoked_on_one()
    {
        TestState.RequireOneServer("the two are started by the test");
        var address = TestState.RequirePostgres().NewAddress();
        // Their clocks stand still: nothing is forgotten because it is old.
        await using var one = await AccessServer.StartAsync(change: o => With(o, address));
        await using var two = await AccessServer.StartAsync(change: o => With(o, address));
        var tokens = one.Server.Services.GetRequiredService<MachineTokens>();
        var grant = new TokenGrant(["ci/**"], ["pull"]);
        var (_, secret) = await tokens.IssueAsync("ci", grant, null, "test", TestContext.Current.CancellationToken);
        var bearer = await one.TokenAsync(AccessServer.Basic("x", secret), "repository:ci/app:pull");
        async Task<HttpStatusCode> AskAsync(string login) =>
            (await two.SendAsync(login, "GET", "ci/app/tags/list")).StatusCode;
        Assert.Equal(HttpStatusCode.NotFound, await AskAsync($"Bearer {secret}"));
        Assert.Equal(HttpStatusCode.NotFound, await AskAsync(bearer));

        await tokens.RevokeAsync("ci", TestContext.Current.CancellationToken);

        // As long as a notification takes.
        for (var tries = 0; tries < 100 && await AskAsync(bearer) == HttpStatusCode.NotFound; tries++)
        {
            await Task.Delay(50);
        }

        Assert.Equal(HttpStatusCode.Unauthorized, await AskAsync(bearer));
        Assert.Equal(HttpStatusCode.Unauthorized, await AskAsync($"Bearer {secret}"));
    }

    [Fact]
    public async Task A_server_with_other_keys_does_not_start_beside_one_at_work()
    {
        var postgres = TestState.RequirePostgres();
        var address = postgres.NewAddress();
        await using var one = await TestServer.StartAsync(o => With(o, address));
        var directory = Directory.CreateTempSubdirectory("kiln-replica-").FullName;
        var other = With(new ServerOptions { DataDirectory = directory, Urls = "http://127.0.0.1:0" }, address);

        var refused = await Assert.ThrowsAsync<ServerStartException>(() =>
            KilnServer.RunAsync(other with { KeysFile = null }, TestContext.Current.CancellationToken)
        );

        Assert.Contains("--keys-file", refused.Message, StringComparison.Ordinal);
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public async Task An_upload_goes_from_server_to_server_with_each_request()
    {
        var bucket = TestState.RequireBucket();
        var start = Starter(o => o with { Storage = bucket });
        await using var one = await start();
        await using var two = await start();
        var content = Samples.Bytes(10 << 20);
        var location = await one.Http.StartUploadAsync("a/b");
        var path = new Uri(location).AbsolutePath;

        var done = 0;
        foreach (var (server, bytes) in ((BuildServer, int)[])[(two, 1000), (one, 9 << 20), (two, 500_000)])
        {
            var range = ("Content-Range", $"{done}-{done + bytes - 1}");
            using var chunk = await server.Http.SendAsync(
                "PATCH",
                path,
                content[done..(done + bytes)],
                MediaTypes.OctetStream,
                range
            );
            Assert.Equal(HttpStatusCode.Accepted, chunk.StatusCode);
            done += bytes;
            using var status = await one.Http.GetAsync(path);
            Assert.Equal($"0-{done - 1}", status.Header("Range"));
        }

        using var end = await one.Http.PutUploadAsync(path, Digest.Of(content), content[done..]);
        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
        Assert.Equal(content, await two.Http.GetByteArrayAsync($"a/b/blobs/{Digest.Of(content)}"));
    }

    [Fact]
    public async Task Who_may_read_a_blob_is_sent_to_the_bucket_and_nobody_else_is()
    {
        var bucket = TestState.RequireBucket() with { Redirect = true };
        await using var server = await TestServer.StartAsync(o => o with { Storage = bucket });
        var content = Samples.Bytes(5000);
        var digest = await server.Http.PushBlobAsync("a/b", content);
        using var handler = new HttpClientHandler { AllowAutoRedirect = false };
        using var http = new HttpClient(handler) { BaseAddress = server.Http.BaseAddress };

        using var sent = await http.GetAsync($"a/b/blobs/{digest}");
        Assert.Equal(HttpStatusCode.TemporaryRedirect, sent.StatusCode);
        Assert.Equal("no-store, private", sent.Headers.CacheControl!.ToString());
        Assert.StartsWith(bucket.Endpoint!, sent.Headers.Location!.AbsoluteUri, StringComparison.Ordinal);
        using var elsewhere = await http.GetAsync($"other/blobs/{digest}");
        Assert.Equal(HttpStatusCode.NotFound, elsewhere.StatusCode);
        using var head = await http.SendAsync(new HttpRequestMessage(HttpMethod.Head, $"a/b/blobs/{digest}"));
        Assert.Equal(content.Length, head.Content.Headers.ContentLength);
        using var range = await server.Http.SendAsync("GET", $"a/b/blobs/{digest}", headers: ("Range", "bytes=10-19"));
        Assert.Equal(HttpStatusCode.PartialContent, range.StatusCode);
        Assert.Equal(content[10..20], await range.Content.ReadAsByteArrayAsync());
        using var beyond = await http.SendAsync("GET", $"a/b/blobs/{digest}", headers: ("Range", "bytes=6000-"));
        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, beyond.StatusCode);
    }

    private static async Task<(BuildServer One, BuildServer Two)> StartBothAsync()
    {
        var start = Starter();
        return (await start(), await start());
    }

    private static Func<Task<BuildServer>> Starter(Func<ServerOptions, ServerOptions>? change = null)
    {
        TestState.RequireOneServer("the two are started by the test");
        var address = TestState.RequirePostgres().NewAddress();
        return () => BuildServer.StartAsync(options: o => With((change ?? (same => same))(o), address));
    }

    private static ServerOptions With(ServerOptions options, string address) =>
        options with
        {
            Database = address,
            DatabasePasswordFile = TestState.RequirePostgres().PasswordFile,
            KeysFile = TestState.KeysFile,
        };

    private static Task<string> ServerIdAsync(BuildServer server) =>
        File.ReadAllTextAsync(Path.Combine(server.DataDirectory, "server.id"));

    private static string Schema(BuildServer server) => server.Options.Database!.Split("schema=")[1];
}
