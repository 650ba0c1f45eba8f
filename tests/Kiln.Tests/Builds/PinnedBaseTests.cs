using System.Net;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Tests.Builds;

/// <summary>Requests that say which image a base is (build-extension, J-12).</summary>
public sealed class PinnedBaseTests
{
    private const string Recipe = "FROM docker.io/library/alpine:3.20\n";
    private const string Uri = "docker://docker.io/library/alpine:3.20";
    private static readonly Digest One = Digest.Of("one"u8);
    private static readonly Digest Other = Digest.Of("other"u8);

    [Fact]
    public async Task The_node_is_told_and_another_pin_is_another_build()
    {
        await using var server = await BuildServer.StartAsync();
        var first = await AcceptedAsync(server, Pin(Uri, One));
        var lease = await server.Node.ClaimAsync();
        var pin = Assert.Single(lease.Task.PinnedBases!);
        Assert.Equal((Uri, One), (pin.Uri, pin.Digest));
        Assert.True(await CompleteAsync(server, lease, One));

        Assert.True((await AcceptedAsync(server, Pin(Uri, One))).Cached);
        var other = await AcceptedAsync(server, Pin(Uri, Other));
        Assert.NotEqual(first.Tasks[0].Key, other.Tasks[0].Key);
        Assert.NotEqual(first.Tasks[0].Key, (await AcceptedAsync(server)).Tasks[0].Key);
    }

    [Fact]
    public async Task A_product_on_another_base_is_refused()
    {
        await using var server = await BuildServer.StartAsync(o => o with { MaxAttempts = 1 });
        var job = await AcceptedAsync(server, Pin(Uri, One));

        Assert.False(await CompleteAsync(server, await server.Node.ClaimAsync(), Other));
        var done = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.ResultInvalid), (done.State, done.Reason));
        Assert.Contains($"pinned the base {Uri}", done.Message, StringComparison.Ordinal);
    }

    [Stateless]
    [Theory]
    [InlineData("""[{"uri":"alpine","digest":"sha256:d"}]""")]
    [InlineData("""[{"uri":"alpine","digest":"D"}]""")]
    [InlineData("""[{"uri":"docker://NOT A NAME","digest":"D"}]""")]
    [InlineData("""[{"uri":"docker://a","digest":"D"},{"uri":"docker://a","digest":"D"}]""")]
    [InlineData("""[{"digest":"D"}]""")]
    [InlineData("[null]")]
    [InlineData("7")]
    public async Task Pins_that_are_none_are_refused(string bases)
    {
        await using var server = await BuildServer.StartAsync();
        using var response = await PostAsync(server, bases.Replace("\"D\"", $"\"{One}\"", StringComparison.Ordinal));
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Contains("BUILD_REQUEST_INVALID", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    private static async Task<bool> CompleteAsync(BuildServer server, Lease lease, Digest on) =>
        await server.Coordinator.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform),
                ResolvedDependencies = [new ResolvedDependency { Uri = Uri, Digest = on }],
            },
            TestContext.Current.CancellationToken
        );

    private static string Pin(string uri, Digest digest) => $$"""[{"uri":"{{uri}}","digest":"{{digest}}"}]""";

    private static async Task<Job> AcceptedAsync(BuildServer server, string bases = "[]")
    {
        using var response = await PostAsync(server, bases);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return await BuildServer.ReadAsync(response);
    }

    private static Task<HttpResponseMessage> PostAsync(BuildServer server, string bases) =>
        server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative),
            new StringContent(
                $$$"""
                {"recipe":{"mediaType":"text/x-dockerfile","data":"{{{Convert.ToBase64String(
                    Encoding.UTF8.GetBytes(Recipe)
                )}}}"},"reproducible":{"bases":{{{bases}}}},"tags":["1.0"]}
                """,
                Encoding.UTF8,
                "application/json"
            )
        );
}
