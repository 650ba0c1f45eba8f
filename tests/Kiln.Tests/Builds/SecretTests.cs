using System.Net;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;

namespace Kiln.Tests.Builds;

/// <summary>Secrets: written once, used by one job, never read, logged, shared or kept.</summary>
public sealed class SecretTests
{
    private const string Value = "hunter2-very-secret";

    [Fact]
    public async Task A_secret_reaches_the_lease_and_nothing_else()
    {
        await using var server = await BuildServer.StartAsync();
        var secret = await UploadAsync(server);
        var job = await server.SubmitAsync($"?tag=1.0&secret.git={secret.Ref}");
        var lease = await server.Node.ClaimAsync();
        Assert.Equal(Value, Encoding.UTF8.GetString(lease.Task.Secrets!.Single().Value));
        Assert.Equal(["git"], lease.Task.SecretIds);

        await server.Node.LogAsync(lease, "the token is hunter2-v");
        await server.Node.LogAsync(lease, "ery-secret, twice " + Value + "\n");
        await server.Node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Failed,
                Reason = FailureReasons.RecipeError,
                Message = $"curl {Value} failed",
            }
        );

        Assert.Contains("the token is ***, twice ***\n", await server.LogAsync(job.Id));
        Assert.Equal("curl *** failed", (await server.GetAsync(job.Id)).Message);
        var files = Directory.EnumerateFiles(server.DataDirectory, "*", SearchOption.AllDirectories);
        foreach (var file in files.Where(f => !f.EndsWith("kiln.lock", StringComparison.Ordinal)))
        {
            await using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            using var content = new MemoryStream();
            await stream.CopyToAsync(content, TestContext.Current.CancellationToken);
            Assert.True(content.ToArray().AsSpan().IndexOf(Encoding.UTF8.GetBytes(Value)) < 0, file);
        }

        // Several servers make it of a file that they share.
        var key = Path.Combine(server.DataDirectory, "keys", "secrets.key");
        Assert.True(
            TestState.Servers > 1 || File.GetUnixFileMode(key) == (UnixFileMode.UserRead | UnixFileMode.UserWrite)
        );
    }

    [Fact]
    public async Task A_secret_serves_one_job_and_is_never_shared()
    {
        await using var server = await BuildServer.StartAsync();
        var (first, second) = (await UploadAsync(server), await UploadAsync(server));
        var one = await server.SubmitAsync($"?secret.git={first.Ref}");
        var two = await server.SubmitAsync($"?secret.git={second.Ref}");
        Assert.NotEqual(one.Tasks[0].Execution, two.Tasks[0].Execution);
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        using var used = await server.PostAsync($"?secret.git={first.Ref}");
        Assert.Equal(HttpStatusCode.NotFound, used.StatusCode);
        using var unknown = await server.PostAsync("?secret.git=unknown");
        Assert.Contains("BUILD_SECRET_UNKNOWN", await unknown.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task A_secret_survives_a_restart_and_expires_unused()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var (kept, expired) = (await UploadAsync(server), await UploadAsync(server));
        await server.RestartAsync();
        await server.SubmitAsync($"?secret.git={kept.Ref}");
        Assert.Equal(Value, Encoding.UTF8.GetString((await server.Node.ClaimAsync()).Task.Secrets!.Single().Value));

        server.Time!.Advance(TimeSpan.FromMinutes(61));
        using var late = await server.PostAsync($"?secret.git={expired.Ref}");
        Assert.Equal(HttpStatusCode.NotFound, late.StatusCode);
    }

    [Fact]
    public async Task Secrets_cannot_be_read()
    {
        await using var server = await BuildServer.StartAsync();
        using var response = await server.Http.GetAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/secrets", UriKind.Relative)
        );

        Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
    }

    [Fact]
    public void A_value_is_masked_however_it_is_cut()
    {
        for (var cut = 0; cut <= 40; cut++)
        {
            var mask = new SecretMask([new LeaseSecret { Id = "a", Value = "line-one\nline-two\n"u8.ToArray() }]);
            var text = Encoding.UTF8.GetBytes("x line-two y line-one\nline-two\n z line");
            var at = Math.Min(cut, text.Length);
            var output = Encoding.UTF8.GetString([
                .. Written(mask, text.AsMemory(0, at)),
                .. Written(mask, text.AsMemory(at)),
                .. mask.Rest.Span,
            ]);

            Assert.Equal("x *** y *** z line", output);
        }
    }

    private static byte[] Written(SecretMask mask, ReadOnlyMemory<byte> text)
    {
        // As by a transaction that is run again.
        mask.Next(text);
        var output = mask.Next(text).ToArray();
        mask.Advance();
        return output;
    }

    private static async Task<SecretReceipt> UploadAsync(BuildServer server)
    {
        using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(Value));
        using var response = await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/secrets", UriKind.Relative),
            content
        );
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return JsonSerializer.Deserialize(
            await response.Content.ReadAsByteArrayAsync(),
            BuildJson.Default.SecretReceipt
        )!;
    }
}
