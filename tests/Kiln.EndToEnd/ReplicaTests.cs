using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using Kiln.EndToEnd.Harness;
using Kiln.Oci;
using Kiln.TestPrograms;

namespace Kiln.EndToEnd;

/// <summary>Two real servers on one PostgreSQL and one bucket behind nginx: one is killed, and clients go on.</summary>
public sealed class ReplicaTests(Machine machine) : IAsyncLifetime
{
    private const int Megabyte = 1 << 20;

    private PostgresServer? _database;
    private S3Server? _bucket;
    private RoundRobin? _proxy;
    private Server[] _servers = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        Assert.SkipUnless(PostgresServer.IsHere, "NOT RUN: this machine has no PostgreSQL (Debian: postgresql)");
        Assert.SkipUnless(S3Server.Missing is null, S3Server.Missing ?? "");
        Assert.SkipUnless(RoundRobin.IsHere, "NOT RUN: this machine has no nginx (Debian: nginx-light)");
        _database = PostgresServer.Start();
        _bucket = S3Server.Start();
        var port = RoundRobin.FreePort();
        string[] options =
        [
            "--public-url",
            $"http://127.0.0.1:{port}",
            "--database",
            _database.NewAddress(),
            "--database-password-file",
            _database.PasswordFile,
            "--keys-file",
            machine.WriteFile("what both servers of this test make their keys of\n", "replica-keys"),
            "--storage",
            S3Server.NewStorage(),
            "--s3-endpoint",
            _bucket.Endpoint,
            "--s3-credentials-file",
            _bucket.CredentialsFile,
        ];
        _servers = [new Replica(machine, options), new Replica(machine, options)];
        foreach (var server in _servers)
        {
            await server.InitializeAsync();
        }

        _proxy = RoundRobin.StartOn(port, [.. _servers.Select(server => server.Host)]);
    }

    [Fact]
    public async Task An_upload_goes_on_elsewhere_when_its_server_is_killed_in_the_middle()
    {
        using var http = Client();
        var content = RandomNumberGenerator.GetBytes(40 * Megabyte);
        var digest = "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));
        using var start = await http.PostAsync("/v2/replica/upload/blobs/uploads/", null, Cancel);
        var session = start.Headers.Location!.ToString();
        // Much of it comes, and then nothing for a while: the server has the upload in hand when it is killed.
        await using var body = new StalledStream(content, 30 * Megabyte);
        using var chunk = new StreamContent(body);
        chunk.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        var sending = _servers[0].Http.PatchAsync(new Uri(_servers[0].Http.BaseAddress!, session), chunk, Cancel);
        var stored = 0L;
        while (stored < 16 * Megabyte)
        {
            await Task.Delay(100, Cancel);
            stored = await StoredAsync(http, session);
        }

        await _servers[0].KillAsync();
        // A client hears of it when it goes on.
        body.GoOn();
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => sending);

        stored = await StoredAsync(http, session);
        Assert.InRange(stored, 16 * Megabyte, 30 * Megabyte);
        using var rest = new ByteArrayContent(content, (int)stored, content.Length - (int)stored);
        rest.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        using var end = await http.PutAsync($"{session}?digest={digest}", rest, Cancel);

        Assert.True(end.StatusCode == HttpStatusCode.Created, await end.Content.ReadAsStringAsync(Cancel));
        Assert.Equal(content, await http.GetByteArrayAsync($"/v2/replica/upload/blobs/{digest}", Cancel));
    }

    [Fact]
    public async Task A_build_and_who_reads_its_log_go_on_when_the_server_that_builds_is_killed()
    {
        var layout = BaseImages.Busybox(machine);
        BaseImages.Push(machine, _servers[0], layout, "library/busybox:latest");
        var proxy = new Uri(_proxy!.Url).Authority;
        var recipe = $"FROM {proxy}/library/busybox:latest\nRUN echo begun; sleep 15; echo whole >/made\n";
        using var answer = await Builds.PostRecipeAsync(_servers[0], "replica/build", "tag=1", recipe);
        var href = answer.Headers.Location!.ToString();
        await Builds.WaitForLogAsync(
            _servers[0],
            await Builds.WaitForStateAsync(_servers[0], href, "running"),
            "begun"
        );
        var builder = IsBuilding(_servers[0]) ? 0 : 1;
        var other = _servers[1 - builder];
        var log = other.Http.GetStringAsync($"{href}/logs?follow=1", Cancel);

        await _servers[builder].KillAsync();

        var job = await Builds.SucceededAsync(other, await Builds.WaitAsync(other, href));
        Assert.Equal("1", job["result"]!["tags"]!.AsArray().Single()!.GetValue<string>());
        var read = await log;
        Assert.Contains("# attempt 1", read, StringComparison.Ordinal);
        Assert.Contains("# attempt 2", read, StringComparison.Ordinal);
        var root = Builds.Unpack(machine, $"{proxy}/replica/build:1");
        Assert.Equal("whole\n", await File.ReadAllTextAsync(Path.Combine(root, "made"), Cancel));
    }

    public async ValueTask DisposeAsync()
    {
        _proxy?.Dispose();
        foreach (var server in _servers)
        {
            await server.DisposeAsync();
        }

        _bucket?.Dispose();
        _database?.Dispose();
    }

    private HttpClient Client() => new() { BaseAddress = new Uri(_proxy!.Url), Timeout = TimeSpan.FromSeconds(120) };

    private static bool IsBuilding(Server server) =>
        Directory.Exists(Path.Combine(server.DataDirectory, "node/builds"))
        && Directory.EnumerateDirectories(Path.Combine(server.DataDirectory, "node/builds")).Any();

    private static async Task<long> StoredAsync(HttpClient http, string session)
    {
        using var status = await http.GetAsync(session, Cancel);
        Assert.Equal(HttpStatusCode.NoContent, status.StatusCode);
        var end = long.Parse(
            status.Headers.GetValues("Range").Single().Split('-')[1],
            System.Globalization.CultureInfo.InvariantCulture
        );
        return end == 0 ? 0 : end + 1;
    }

    private sealed class Replica(Machine machine, IReadOnlyList<string> options) : Server(machine)
    {
        protected override IReadOnlyList<string> Options => options;
    }

    /// <summary>Gives some bytes, and keeps whoever reads waiting for the others.</summary>
    private sealed class StalledStream(byte[] content, int bytes) : ForwardStream
    {
        private readonly TaskCompletionSource _others = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _position;

        public override async ValueTask<int> ReadAsync(
            Memory<byte> buffer,
            CancellationToken cancellationToken = default
        )
        {
            if (_position == bytes)
            {
                await _others.Task.WaitAsync(cancellationToken);
            }

            var end = _others.Task.IsCompleted ? content.Length : bytes;
            var read = Math.Min(buffer.Length, end - _position);
            content.AsMemory(_position, read).CopyTo(buffer);
            _position += read;
            return read;
        }

        public void GoOn() => _others.TrySetResult();
    }
}
