using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Registry;

/// <summary>Manifests that were made to hurt: refused in a moment, with a reason, and nothing of them is stored.</summary>
public sealed class HostileManifestTests(ServerFixture fixture)
{
    private const string Image = MediaTypes.OciManifest;
    private static readonly string Config = Samples.Descriptor(Samples.EmptyJson, MediaTypes.OciEmpty).ToJsonString();

    // Latin-1, one character for each byte, so that what is no UTF-8 can be written down.
    public static TheoryData<string, string> Broken =>
        new()
        {
            { "nothing at all", "" },
            { "only spaces", "   " },
            { "two documents", With("") + With("") },
            { "a byte order mark", "\u00ef\u00bb\u00bf" + With("") },
            { "UTF-16", string.Concat(With("").Select(c => $"{c}\0")) },
            { "a comment", With("") + "// what for" },
            {
                "invalid UTF-8 in a media type",
                $$"""{"schemaVersion":2,"mediaType":"{{"\u00ff\u00fe"}}","config":{{Config}}}"""
            },
            { "invalid UTF-8 in an annotation", With("\"annotations\":{\"a\":\"\u00c3\u0028\"}") },
            { "invalid UTF-8 in an unknown member", With("\"x\":\"\u00f8\u0088\u0080\u0080\u0080\"") },
            { "invalid UTF-8 in a member's name", With("\"\u00ff\":1") },
            {
                "half a surrogate pair in a media type",
                $$"""{"schemaVersion":2,"mediaType":"\ud800","config":{{Config}}}"""
            },
            {
                "half a surrogate pair in an annotation",
                With(
                    """
                    "annotations":{"a":"\udc00"}
                    """
                )
            },
            { "half a surrogate pair in an artifact type", With("\"artifactType\":\"\\ud800\"") },
            { "a NUL in an artifact type", With("\"artifactType\":\"a/b\\u0000\"") },
            { "a line break in an artifact type", With("\"artifactType\":\"a/b\\r\\nX: y\"") },
            { "an artifact type without end", With($"\"artifactType\":\"a/{new string('b', 300)}\"") },
            { "an artifact type that is no text", With("\"artifactType\":{}") },
            { "a media type that is no text", $$"""{"schemaVersion":2,"mediaType":7,"config":{{Config}}}""" },
            { "the media type twice", With($"\"mediaType\":\"{Image}\",\"mediaType\":\"{Image}\"") },
            { "the config twice", With($"\"config\":{Config}") },
            { "the layers twice", With("\"layers\":[],\"layers\":[]") },
            { "an annotation twice", With("\"annotations\":{\"a\":\"1\",\"a\":\"2\"}") },
            { "a member twice, once escaped", With("\"\\u0063onfig\":{}") },
            { "annotations that are a list", With("\"annotations\":[]") },
            { "an annotation that is no text", With("\"annotations\":{\"a\":1}") },
            { "a subject that is a text", With("\"subject\":\"sha256:0\"") },
            { "a layer that is null", With("\"layers\":[null]") },
            { "a layer that is a number", With("\"layers\":[1]") },
            { "a size with a fraction", With("\"layers\":[" + Config.Replace(":2}", ":2.5}") + "]") },
            { "a size past 64 bits", With("\"layers\":[" + Config.Replace(":2}", ":99999999999999999999}") + "]") },
            { "data that is no base64", With("\"layers\":[" + Config.Replace(":2}", ":2,\"data\":\"?\"}") + "]") },
            { "a digest of another algorithm", With("\"layers\":[" + Config.Replace("sha256", "blake3") + "]") },
            { "a version as text", $$"""{"schemaVersion":"2","config":{{Config}}}""" },
            { "a version past 32 bits", $$"""{"schemaVersion":4294967298,"config":{{Config}}}""" },
            { "lists 65 deep", With($"\"x\":{new string('[', 65)}{new string(']', 65)}") },
            { "lists a million deep", new string('[', 1_000_000) },
            { "objects a million deep", string.Concat(Enumerable.Repeat("{\"a\":", 1_000_000)) },
            { "three million values", With($"\"x\":[{string.Concat(Enumerable.Repeat("0,", 3_000_000))}0]") },
        };

    [Theory]
    [MemberData(nameof(Broken), DisableDiscoveryEnumeration = true)]
    public async Task A_manifest_made_to_hurt_is_refused_and_leaves_nothing(string what, string latin1)
    {
        var repository = Samples.Repository();
        await fixture.Http.PushBlobAsync(repository, Samples.EmptyJson);
        var clock = Stopwatch.StartNew();

        using var response = await fixture.Http.PutManifestAsync(
            repository,
            "1",
            Encoding.Latin1.GetBytes(latin1),
            latin1.Contains("\"mediaType\":\"") ? "" : Image
        );

        await response.ShouldFailAsync(400, "MANIFEST_INVALID");
        Assert.Empty(await fixture.Http.TagsAsync(repository));
        // What grows with the square of its length would take hours.
        Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), $"{what} took {clock.Elapsed}");
    }

    [Fact]
    public async Task What_refers_to_too_much_is_refused_and_as_much_as_is_allowed_is_not()
    {
        var repository = Samples.Repository();
        var child = await fixture.Http.PushAsync(repository, Samples.Image());
        JsonObject Index(int count) => Samples.Index(Enumerable.Range(0, count).Select(_ => child.DeepClone()));

        using var allowed = await fixture.Http.PutManifestAsync(
            repository,
            "most",
            Index(10_000).Encode(),
            MediaTypes.OciIndex
        );
        using var refused = await fixture.Http.PutManifestAsync(
            repository,
            "more",
            Index(10_001).Encode(),
            MediaTypes.OciIndex
        );

        Assert.Equal(201, (int)allowed.StatusCode);
        await refused.ShouldFailAsync(400, "MANIFEST_INVALID");
    }

    [Fact]
    public async Task An_index_of_a_million_entries_gets_413_before_it_is_sent()
    {
        const int entry = 150;
        await using var client = await RawClient.ConnectAsync(fixture.Server.Url);

        await client.SendAsync(
            $"PUT /v2/{Samples.Repository()}/manifests/1 HTTP/1.1\r\nHost: localhost\r\n"
                + $"Content-Type: {MediaTypes.OciIndex}\r\nContent-Length: {1_000_000L * entry}\r\n\r\n"
        );

        var answer = await client.ReceiveAsync();
        Assert.StartsWith("HTTP/1.1 413 ", answer, StringComparison.Ordinal);
        Assert.Contains("MANIFEST_INVALID", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_manifest_that_does_not_come_to_an_end_in_time_gets_408()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        using var log = new ServerLog(LogLevel.Error);
        await using var server = await TestServer.StartAsync(services: s =>
            s.AddSingleton<TimeProvider>(time).AddSingleton<ILoggerProvider>(log)
        );
        await using var client = await RawClient.ConnectAsync(server.Url);
        await client.SendAsync("PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n");
        await client.SendAsync("{\"schemaVersion\":");

        var answer = client.ReceiveAsync();
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (!answer.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(30));
            await Task.WhenAny(answer, Task.Delay(20, patience.Token));
            patience.Token.ThrowIfCancellationRequested();
        }

        Assert.StartsWith("HTTP/1.1 408 ", await answer, StringComparison.Ordinal);
        Assert.Contains("\"errors\"", await answer, StringComparison.Ordinal);
        // What is left of the body can be drained: the server waits for that before it ends.
        await client.DisposeAsync();
        await server.DisposeAsync();
        Assert.Empty(log.Lines);
    }

    private static string With(string member) =>
        $$"""{"schemaVersion":2,"config":{{Config}}{{(member.Length == 0 ? "" : ",")}}{{member.Trim()}}}""";
}
