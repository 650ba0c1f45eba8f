using Kiln.Conformance;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Tests.Conformance;

/// <summary>Registries that are not Kiln, as little as they are.</summary>
public sealed class ForeignRegistryTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_registry_without_the_extension_fails_nothing_of_it()
    {
        await using var registry = await StartAsync(http =>
            http.Response.StatusCode = http.Request.Path == "/v2/" ? 200 : 404
        );

        var results = await RunAsync(registry, [.. Categories.All.Skip(1)]);

        Assert.All(results, result => Assert.Equal(Outcome.Unsupported, result.Outcome));
        Assert.Equal(CheckTable.All.Count(check => check.Category != Categories.Store), results.Count);
    }

    [Fact]
    public async Task A_registry_that_answers_nonsense_fails_and_breaks_nothing()
    {
        await using var registry = await StartAsync(http => http.Response.WriteAsync("[null,{\"a\":1e999}]\u0001"));

        var results = await RunAsync(registry, []);

        Assert.Equal(CheckTable.All.Count, results.Count);
        Assert.DoesNotContain(
            results,
            result => result.Reason?.Contains("cannot be understood", StringComparison.Ordinal) is true
        );
        Assert.Contains(results, result => result.Outcome == Outcome.Fail);
    }

    [Fact]
    public async Task A_registry_that_does_not_answer_fails_in_time()
    {
        await using var registry = await StartAsync(async http =>
        {
            if (http.Request.Path != "/v2/")
            {
                await Task.Delay(Timeout.Infinite, http.RequestAborted);
            }
        });

        var results = await ConformanceRun.RunAsync(
            ConformanceServer.Options(new Uri(registry.Urls.Single())) with
            {
                Only = ["discover.info-members", "store.blob-get"],
                RequestTimeout = TimeSpan.FromMilliseconds(200),
            },
            null,
            Cancel
        );

        Assert.All(results, result => Assert.Equal(Outcome.Fail, result.Outcome));
        Assert.All(results, result => Assert.Contains("was not answered within", result.Reason));
    }

    [Fact]
    public async Task An_answer_without_end_is_cut()
    {
        var block = new byte[1 << 20];
        await using var registry = await StartAsync(async http =>
        {
            for (
                var i = 0;
                http.Request.Path != "/v2/" && i < 1000 && !http.RequestAborted.IsCancellationRequested;
                i++
            )
            {
                await http.Response.Body.WriteAsync(block);
            }
        });

        var results = await ConformanceRun.RunAsync(
            ConformanceServer.Options(new Uri(registry.Urls.Single())) with
            {
                Only = ["discover.info-limits"],
            },
            null,
            Cancel
        );

        Assert.Contains("more than", Assert.Single(results).Reason);
    }

    private static Task<IReadOnlyList<CheckResult>> RunAsync(
        WebApplication registry,
        IReadOnlyList<string> categories
    ) =>
        ConformanceRun.RunAsync(
            ConformanceServer.Options(new Uri(registry.Urls.Single())) with
            {
                Categories = categories,
                Patience = TimeSpan.FromSeconds(1),
            },
            null,
            Cancel
        );

    private static Task<WebApplication> StartAsync(Action<HttpContext> answer) =>
        StartAsync(http =>
        {
            answer(http);
            return Task.CompletedTask;
        });

    private static async Task<WebApplication> StartAsync(Func<HttpContext, Task> answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        var app = builder.Build();
        app.Urls.Add("http://127.0.0.1:0");
        app.Run(answer.Invoke);
        await app.StartAsync();
        return app;
    }
}
