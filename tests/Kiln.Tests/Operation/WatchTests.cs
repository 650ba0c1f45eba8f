using System.Collections.Concurrent;
using System.Net;
using System.Runtime.CompilerServices;
using System.Text;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Storage;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Kiln.Tests.Operation;

/// <summary>Health, metrics, request ids and traces.</summary>
public sealed class WatchTests
{
    private static readonly CancellationToken Cancel = TestContext.Current.CancellationToken;

    [Fact]
    public async Task Health_is_told_to_everybody_and_metrics_at_the_management_address_only()
    {
        await using var server = await StartAsync();
        using var http = new HttpClient();

        foreach (var url in new[] { server.Url, server.ManagementUrl })
        {
            Assert.Equal("ok\n", await http.GetStringAsync(url + "/healthz", Cancel));
            Assert.Equal("ready\n", await http.GetStringAsync(url + "/readyz", Cancel));
            using var head = await http.SendAsync(new HttpRequestMessage(HttpMethod.Head, url + "/readyz"), Cancel);
            Assert.Equal(HttpStatusCode.OK, head.StatusCode);
            using var put = await http.PutAsync(url + "/readyz", null, Cancel);
            Assert.Equal(HttpStatusCode.MethodNotAllowed, put.StatusCode);
        }

        using var metrics = await http.GetAsync(server.Url + "/metrics", Cancel);
        Assert.Equal(HttpStatusCode.NotFound, metrics.StatusCode);
        using var registry = await http.GetAsync(server.ManagementUrl + "/v2/", Cancel);
        Assert.Equal(HttpStatusCode.NotFound, registry.StatusCode);
    }

    [Fact]
    public async Task A_server_without_its_storage_says_that_it_is_not_ready()
    {
        await using var server = await StartAsync();
        using var http = new HttpClient();
        var aside = server.DataDirectory + "-aside";
        Directory.Move(server.DataDirectory, aside);
        try
        {
            using var answer = await http.GetAsync(server.Url + "/readyz", Cancel);

            Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
            Assert.Equal("not ready: storage not reachable\n", await answer.Content.ReadAsStringAsync(Cancel));
            Assert.Equal("ok\n", await http.GetStringAsync(server.Url + "/healthz", Cancel));
        }
        finally
        {
            Directory.Move(aside, server.DataDirectory);
        }
    }

    [Fact]
    public async Task A_storage_that_hangs_holds_nobody_up_who_asks_whether_the_server_is_ready()
    {
        using var open = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(services: services =>
            services.AddSingleton<IBlobStore>(new HangingStore(open))
        );
        using var http = new HttpClient();
        http.Timeout = TimeSpan.FromMinutes(2);
        try
        {
            for (var i = 0; i < 3; i++)
            {
                using var answer = await http.GetAsync(server.Url + "/readyz", Cancel);
                Assert.Equal("not ready: storage not reachable\n", await answer.Content.ReadAsStringAsync(Cancel));
            }

            Assert.Equal("ok\n", await http.GetStringAsync(server.Url + "/healthz", Cancel));
        }
        finally
        {
            open.Set();
        }
    }

    [Fact]
    public async Task Many_may_look_at_the_metrics_at_once()
    {
        await using var server = await StartAsync();
        using var http = new HttpClient();
        var pages = await Task.WhenAll(
            Enumerable.Range(0, 200).Select(_ => http.GetStringAsync(server.ManagementUrl + "/metrics", Cancel))
        );

        // What is observed when it is asked for is in each of them.
        var series = pages.Select(page =>
            page.Split('\n')
                .Count(line =>
                    line.StartsWith("dotnet_", StringComparison.Ordinal)
                    && !line.Contains("gc_", StringComparison.Ordinal)
                )
        );
        Assert.True(series.Min() > 5);
        Assert.Single(
            pages.Select(page => page.Contains("\ndotnet_process_memory", StringComparison.Ordinal)).Distinct()
        );
    }

    [Fact]
    public async Task Metrics_count_by_route_and_name_nobody()
    {
        await using var server = await StartAsync();
        using var http = new HttpClient();
        var repository = Samples.Repository();
        await server.Http.PushBlobAsync(repository, Samples.Bytes(5000));
        using (await server.Http.GetAsync($"{repository}/manifests/none", Cancel)) { }
        await server.Http.StartUploadAsync(repository);

        var page = await http.GetStringAsync(server.ManagementUrl + "/metrics", Cancel);

        Assert.Contains("# TYPE kiln_http_request_duration_seconds histogram\n", page);
        Assert.Matches(
            """kiln_http_request_duration_seconds_count\{route="/v2/\{name\}/manifests/\{\}",method="GET",status="404"\} [1-9]""",
            page
        );
        Assert.Matches("""kiln_http_request_duration_seconds_bucket\{[^}]*(\{[^}]*\}[^}]*)*le="\+Inf"\} [1-9]""", page);
        Assert.Matches("(?m)^kiln_uploads_open [1-9]", page);
        Assert.Matches("(?m)^kiln_uploads_received_bytes_total [0-9]+", page);
        Assert.Matches("(?m)^kiln_database_write_duration_seconds_count [1-9]", page);
        Assert.Matches("(?m)^kiln_leases 0", page);
        Assert.Matches("(?m)^dotnet_process_memory_working_set_bytes [0-9]+", page);
        Assert.DoesNotContain(repository, page);
        Assert.DoesNotContain("overflow", page);
        // Every line is a comment, or a name with tags and a number.
        Assert.All(
            page.Split('\n', StringSplitOptions.RemoveEmptyEntries),
            line => Assert.Matches("""\A(# (HELP|TYPE) .*|[a-z_]+(\{.*\})? [-+0-9.eE]+)\z""", line)
        );
    }

    [Theory]
    [InlineData("proxy-17.a_B", true)]
    [InlineData("two words", false)]
    [InlineData("a\"b", false)]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false)]
    public async Task Every_answer_has_the_id_of_its_request(string given, bool kept)
    {
        await using var server = await StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, server.Url + "/v2/nobody/here/manifests/x");
        request.Headers.TryAddWithoutValidation("X-Request-Id", given);

        using var answer = await server.Http.SendAsync(request, Cancel);

        var id = answer.Header("X-Request-Id");
        Assert.Matches("\\A[A-Za-z0-9._-]{1,64}\\z", id);
        Assert.Equal(kept, id == given);
    }

    [Fact]
    public async Task A_trace_follows_a_request_into_the_database_and_goes_to_the_collector()
    {
        var received = new ConcurrentQueue<(string Path, string Key, string Body)>();
        await using var collector = await CollectorAsync(received);
        var headers = Path.GetTempFileName();
        await File.WriteAllTextAsync(headers, "# of the collector\nx-key=abc\n", Cancel);
        try
        {
            await using (
                var server = await StartAsync(o =>
                    o with
                    {
                        OtlpEndpoint = collector.Urls.Single(),
                        OtlpHeadersFile = headers,
                    }
                )
            )
            {
                await server.Http.PushBlobAsync(Samples.Repository(), Samples.Bytes(100));
            }
        }
        finally
        {
            File.Delete(headers);
        }

        // What was not sent yet is when the server ends.
        Assert.Contains(
            received,
            r => r is { Path: "/v1/metrics", Key: "abc" } && r.Body.Contains("kiln.database.write")
        );
        var traces = string.Concat(received.Where(r => r.Path == "/v1/traces").Select(r => r.Body));
        Assert.Contains("database write", traces);
        Assert.Contains("/v2/{name}/blobs/uploads/", traces);
        Assert.Contains("kiln.request.id", traces);
    }

    private static Task<TestServer> StartAsync(Func<OperationOptions, OperationOptions>? change = null) =>
        TestServer.StartAsync(o =>
            o with
            {
                Operation = (change ?? (x => x))(new OperationOptions { ManagementUrl = "http://127.0.0.1:0" }),
            }
        );

    private static async Task<WebApplication> CollectorAsync(ConcurrentQueue<(string, string, string)> received)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        var app = builder.Build();
        app.Urls.Add("http://127.0.0.1:0");
        app.Run(async http =>
        {
            using var body = new MemoryStream();
            await http.Request.Body.CopyToAsync(body);
            received.Enqueue(
                (http.Request.Path, http.Request.Headers["x-key"].ToString(), Encoding.Latin1.GetString(body.ToArray()))
            );
            http.Response.ContentType = "application/x-protobuf";
        });
        await app.StartAsync();
        return app;
    }

    /// <summary>A store of which nothing but a size is asked, which comes when the gate is open: a file system that is away.</summary>
    private sealed class HangingStore(ManualResetEventSlim open) : IBlobStore
    {
        public Task<long?> SizeAsync(Digest digest, CancellationToken cancel)
        {
            open.Wait(CancellationToken.None);
            return Task.FromResult<long?>(null);
        }

        public Task<Stream?> OpenAsync(Digest digest, long offset, long length, CancellationToken cancel) =>
            Task.FromResult<Stream?>(null);

        public Task<IBlobUpload> UploadAsync(string id, string algorithm, CancellationToken cancel) =>
            throw new NotSupportedException();

        public Task<long?> UploadedAsync(string id, CancellationToken cancel) => Task.FromResult<long?>(null);

        public Task DiscardAsync(string id, CancellationToken cancel) => Task.CompletedTask;

        public Task<int> DiscardAsync(DateTimeOffset before, CancellationToken cancel) => Task.FromResult(0);

        public async IAsyncEnumerable<(Digest Digest, long Size)> ListAsync(
            [EnumeratorCancellation] CancellationToken cancel
        )
        {
            await Task.CompletedTask;
            yield break;
        }

        public Task DeleteAsync(Digest digest, CancellationToken cancel) => Task.CompletedTask;
    }
}
