using System.Net;
using Kiln.Oci;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Registry;

/// <summary>What a server finds again after it was stopped, and what it throws away in time.</summary>
public sealed class RestartTests
{
    [Fact]
    public async Task Everything_acknowledged_is_there_after_a_restart()
    {
        await using var server = await TestServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var digest = await server.Http.PushBlobAsync("a/b", layer);
        var image = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar));
        var subject = await server.Http.PushAsync("a/b", image, "1");
        await server.Http.PushAsync(
            "a/b",
            Samples.Referrer((System.Text.Json.Nodes.JsonObject)subject.DeepClone(), "x/y")
        );

        await server.RestartAsync();

        Assert.Equal((string[])["1"], await server.Http.TagsAsync("a/b"));
        Assert.Equal(image.Encode(), await server.Http.GetByteArrayAsync("a/b/manifests/1"));
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"a/b/blobs/{digest}"));
        var referrers = await server.Http.GetJsonAsync($"a/b/referrers/{subject["digest"]}");
        Assert.Single(referrers["manifests"]!.AsArray());
    }

    [Fact]
    public async Task An_upload_goes_on_after_a_restart_with_what_was_stored()
    {
        await using var server = await TestServer.StartAsync();
        var content = Samples.Bytes(50_000);
        var location = await server.Http.StartUploadAsync("a/b");
        using var first = await server.Http.SendAsync("PATCH", location, content[..20_000], MediaTypes.OctetStream);

        await server.RestartAsync();

        using var status = await server.Http.GetAsync(location);
        Assert.Equal("0-19999", status.Header("Range"));
        using var second = await server.Http.SendAsync(
            "PATCH",
            location,
            content[20_000..],
            MediaTypes.OctetStream,
            ("Content-Range", "20000-49999")
        );
        Assert.Equal(HttpStatusCode.Accepted, second.StatusCode);
        using var end = await server.Http.PutUploadAsync(location, Digest.Of(content), []);
        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
        Assert.Equal(content, await server.Http.GetByteArrayAsync(end.Headers.Location));
    }

    [Fact]
    public async Task An_abandoned_upload_is_thrown_away_and_a_fresh_one_is_not()
    {
        TestState.RequireFiles();
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var server = await TestServer.StartAsync(services: services =>
            services.AddSingleton<TimeProvider>(time)
        );
        var old = await server.Http.StartUploadAsync("a/b");
        using var chunk = await server.Http.SendAsync("PATCH", old, [1, 2, 3], MediaTypes.OctetStream);
        // The server writes other things there too, for moments.
        var stored = Directory
            .GetFiles(Path.Combine(server.DataDirectory, "uploads"))
            .Single(file => old.Contains(Path.GetFileName(file), StringComparison.Ordinal));
        File.SetLastWriteTimeUtc(stored, time.GetUtcNow().UtcDateTime);
        time.Advance(TimeSpan.FromHours(23.5));
        var fresh = await server.Http.StartUploadAsync("a/b");

        time.Advance(TimeSpan.FromHours(1));

        using var timeout = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (await server.Http.StatusAsync("GET", old) != HttpStatusCode.NotFound)
        {
            await Task.Delay(10, timeout.Token);
        }

        Assert.Equal(HttpStatusCode.NoContent, await server.Http.StatusAsync("GET", fresh));
        Assert.False(File.Exists(stored));
    }

    [Fact]
    public async Task What_the_server_keeps_is_private()
    {
        await using var server = await TestServer.StartAsync();
        await server.Http.PushBlobAsync("a", Samples.Bytes(10));

        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
            File.GetUnixFileMode(Path.Combine(server.DataDirectory, "blobs"))
        );
    }
}
