using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.TestPrograms;
using Kiln.Tests.Collection;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>Pulling through from a real second registry, Debian's docker-registry.</summary>
public sealed class PullThroughTests : IDisposable
{
    private readonly DockerRegistry _registry = ThroughServer.RequireRegistry();
    private readonly HttpClient _there;

    public PullThroughTests() => _there = ThroughServer.ClientOf(_registry.Host);

    public void Dispose()
    {
        _there.Dispose();
        _registry.Dispose();
    }

    private Task<ThroughServer> StartAsync(Func<UpstreamOptions, UpstreamOptions>? change = null) =>
        ThroughServer.StartAsync($"http://{_registry.Host}", change);

    private Task<(byte[] Manifest, byte[] Layer, Digest Blob)> PushAsync(
        string name,
        string tag,
        int bytes = 100_000
    ) => ThroughServer.PushAsync(_there, name, tag, bytes);

    [Fact]
    public async Task An_image_comes_byte_for_byte_and_is_asked_for_once()
    {
        var (manifest, layer, blob) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();

        for (var i = 0; i < 3; i++)
        {
            using var head = await server.Http.SendAsync("HEAD", "hub/library/app/manifests/1");
            Assert.Equal(manifest.Length, head.Content.Headers.ContentLength);
            using var answer = await server.Http.GetAsync("hub/library/app/manifests/1");
            Assert.Equal(manifest, await answer.Content.ReadAsByteArrayAsync());
            Assert.Equal(Digest.Of(manifest).ToString(), answer.Header("Docker-Content-Digest"));
            Assert.Equal(MediaTypes.OciManifest, answer.Header("Content-Type"));
            Assert.Equal(layer, await server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}"));
            Assert.Equal(
                manifest,
                await server.Http.GetByteArrayAsync($"hub/library/app/manifests/{Digest.Of(manifest)}")
            );
        }

        Assert.Equal(1, _registry.Requests("GET /v2/library/app/manifests/"));
        Assert.Equal(1, _registry.Requests($"GET /v2/library/app/blobs/{blob}"));
        Assert.Contains(
            "hub/library/app",
            (await server.Http.GetJsonAsync("_catalog"))["repositories"]!.ToJsonString()
        );
    }

    [Fact]
    public async Task An_index_comes_without_what_nobody_wants_of_it()
    {
        var first = await _there.PushAsync("multi", Samples.Image());
        var second = await _there.PushAsync("multi", Samples.Image());
        await _there.PushAsync("multi", Samples.Index(first, second), "1");
        await using var server = await StartAsync();

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/multi/manifests/1"));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"hub/multi/manifests/{first["digest"]}"));

        Assert.Equal(0, _registry.Requests($"GET /v2/multi/manifests/{second["digest"]}"));
    }

    [Fact]
    public async Task Ns_names_the_same_content()
    {
        var (manifest, layer, blob) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();

        foreach (var path in new[] { "library/app", "hub/library/app" })
        {
            using var answer = await server.Http.GetAsync($"{path}/manifests/1?ns={ThroughServer.UpstreamHost}");
            Assert.Equal(ThroughServer.UpstreamHost, answer.Header("OCI-Namespace"));
            Assert.Equal(manifest, await answer.Content.ReadAsByteArrayAsync());
            Assert.Equal(
                layer,
                await server.Http.GetByteArrayAsync($"{path}/blobs/{blob}?ns={ThroughServer.UpstreamHost}")
            );
        }

        using var other = await server.Http.GetAsync("library/app/manifests/1?ns=quay.io");
        await other.ShouldFailAsync(404, "MANIFEST_UNKNOWN");
        Assert.Null(other.Header("OCI-Namespace"));
    }

    [Fact]
    public async Task Many_clients_that_want_the_same_absent_image_cause_one_request()
    {
        var (_, layer, blob) = await PushAsync("library/app", "1", 8 << 20);
        await using var server = await StartAsync();

        await Task.WhenAll(
            Enumerable
                .Range(0, 12)
                .Select(async _ =>
                {
                    await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
                    Assert.Equal(layer, await server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}"));
                })
        );

        Assert.Equal(1, _registry.Requests("GET /v2/library/app/manifests/1"));
        Assert.Equal(1, _registry.Requests($"GET /v2/library/app/blobs/{blob}"));
    }

    [Fact]
    public async Task A_tag_is_confirmed_when_its_age_is_up_and_moves_with_the_upstream()
    {
        var (old, _, _) = await PushAsync("library/app", "latest");
        await using var server = await StartAsync(o => o with { TagAge = TimeSpan.FromMinutes(5) });
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/latest");

        server.Time.Advance(TimeSpan.FromMinutes(6));
        Assert.Equal(old, await server.Http.GetByteArrayAsync("hub/library/app/manifests/latest"));
        Assert.Equal(1, _registry.Requests("GET /v2/library/app/manifests/"));
        Assert.Equal(1, _registry.Requests("HEAD /v2/library/app/manifests/latest"));

        var (moved, _, _) = await PushAsync("library/app", "latest");
        Assert.Equal(old, await server.Http.GetByteArrayAsync("hub/library/app/manifests/latest"));
        server.Time.Advance(TimeSpan.FromMinutes(6));
        Assert.Equal(moved, await server.Http.GetByteArrayAsync("hub/library/app/manifests/latest"));
        Assert.Equal(2, _registry.Requests("HEAD /v2/library/app/manifests/latest"));
    }

    [Fact]
    public async Task A_tag_that_the_upstream_has_no_more_is_gone_and_its_image_is_not()
    {
        var (manifest, _, _) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        using (var deleted = await _there.SendAsync("DELETE", $"library/app/manifests/{Digest.Of(manifest)}"))
        {
            Assert.Equal(HttpStatusCode.Accepted, deleted.StatusCode);
        }

        server.Time.Advance(TimeSpan.FromHours(1));
        using var answer = await server.Http.GetAsync("hub/library/app/manifests/1");

        await answer.ShouldFailAsync(404, "MANIFEST_UNKNOWN");
        Assert.Equal(manifest, await server.Http.GetByteArrayAsync($"hub/library/app/manifests/{Digest.Of(manifest)}"));
    }

    [Fact]
    public async Task What_is_not_there_is_not_asked_for_again_at_once()
    {
        await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        var absent = Digest.Of(Samples.Bytes(10));
        for (var i = 0; i < 3; i++)
        {
            using var tag = await server.Http.GetAsync("hub/library/app/manifests/2");
            await tag.ShouldFailAsync(404, "MANIFEST_UNKNOWN");
            using var blob = await server.Http.GetAsync($"hub/library/app/blobs/{absent}");
            await blob.ShouldFailAsync(404, "BLOB_UNKNOWN");
            Assert.Equal(
                HttpStatusCode.NotFound,
                await server.Http.StatusAsync("HEAD", $"hub/library/app/blobs/{absent}")
            );
        }

        Assert.Equal(1, _registry.Requests("/v2/library/app/manifests/2"));
        Assert.Equal(1, _registry.Requests($"/v2/library/app/blobs/{absent}"));
        var (manifest, _, _) = await PushAsync("library/app", "2");
        server.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(manifest, await server.Http.GetByteArrayAsync("hub/library/app/manifests/2"));
    }

    [Fact]
    public async Task Layers_that_another_repository_brought_do_not_come_again()
    {
        var (_, layer, blob) = await PushAsync("library/app", "1");
        await _there.PushBlobAsync("library/other", layer);
        await using var server = await StartAsync();
        await server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}");

        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"hub/library/other/blobs/{blob}"));
        using var nowhere = await server.Http.GetAsync($"hub/library/third/blobs/{blob}");

        await nowhere.ShouldFailAsync(404, "BLOB_UNKNOWN");
        Assert.Equal(0, _registry.Requests($"GET /v2/library/other/blobs/{blob}"));
    }

    [Fact]
    public async Task A_blob_that_somebody_pushed_here_is_not_had_through_the_upstream_by_its_digest()
    {
        await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        var secret = await server.Http.PushBlobAsync("private/app", Samples.Bytes(1000));

        using var answer = await server.Http.GetAsync($"hub/library/app/blobs/{secret}");

        await answer.ShouldFailAsync(404, "BLOB_UNKNOWN");
    }

    [Fact]
    public async Task Parts_and_conditions_work_while_a_blob_comes()
    {
        var (_, layer, blob) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        var path = $"hub/library/app/blobs/{blob}";

        using var head = await server.Http.SendAsync("HEAD", path);
        using var beyond = await server.Http.SendAsync("GET", path, headers: ("Range", "bytes=100000-"));
        using var part = await server.Http.SendAsync("GET", path, headers: ("Range", "bytes=5000-5999"));
        using var same = await server.Http.SendAsync("GET", path, headers: ("If-None-Match", $"\"{blob}\""));

        Assert.Equal(layer.Length, head.Content.Headers.ContentLength);
        await beyond.ShouldFailAsync(416, "SIZE_INVALID");
        Assert.Equal(HttpStatusCode.PartialContent, part.StatusCode);
        Assert.Equal(layer[5000..6000], await part.Content.ReadAsByteArrayAsync());
        Assert.Equal(HttpStatusCode.NotModified, same.StatusCode);
    }

    [Fact]
    public async Task Tags_are_the_upstreams_in_pages_of_this_registry()
    {
        var (manifest, _, _) = await PushAsync("library/app", "b");
        foreach (var tag in new[] { "c", "a", "d" })
        {
            using var put = await _there.PutManifestAsync("library/app", tag, manifest);
        }

        await using var server = await StartAsync();
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/c");

        Assert.Equal(["a", "b", "c", "d"], await server.Http.TagsAsync("hub/library/app"));
        using (var page = await server.Http.GetAsync("hub/library/app/tags/list?n=2&last=a"))
        {
            Assert.Contains("last=c", page.Header("Link"));
            Assert.Contains("[\"b\",\"c\"]", await page.Content.ReadAsStringAsync());
        }

        using (var nowhere = await server.Http.GetAsync("hub/library/none/tags/list"))
        {
            await nowhere.ShouldFailAsync(404, "NAME_UNKNOWN");
        }

        _registry.Kill();
        server.Time.Advance(TimeSpan.FromMinutes(5));
        using var offline = await server.Http.GetAsync("hub/library/app/tags/list");
        Assert.Contains("[\"c\"]", await offline.Content.ReadAsStringAsync());
        Assert.Contains("only what is cached", offline.Header("Warning"));
    }

    [Fact]
    public async Task Referrers_come_from_the_tag_that_stands_for_them_there()
    {
        var subject = await _there.PushAsync("signed", Samples.Image(), "1");
        var referrer = await _there.PushAsync("signed", Samples.Referrer(subject, "application/x-signature"));
        var listed = referrer.DeepClone().AsObject();
        listed["artifactType"] = "application/x-signature";
        var fallback = ((string)subject["digest"]!).Replace(':', '-');
        await _there.PushAsync("signed", Samples.Index(listed), fallback);
        await using var server = await StartAsync();

        foreach (
            var (query, count) in new[]
            {
                ("", 1),
                ("?artifactType=application/x-signature", 1),
                ("?artifactType=x/y", 0),
            }
        )
        {
            var index = await server.Http.GetJsonAsync($"hub/signed/referrers/{subject["digest"]}{query}");
            Assert.Equal(count, index["manifests"]!.AsArray().Count);
        }

        Assert.Equal(
            HttpStatusCode.OK,
            await server.Http.StatusAsync("GET", $"hub/signed/manifests/{referrer["digest"]}")
        );
    }

    [Fact]
    public async Task Nothing_is_pushed_into_the_upstreams_name()
    {
        await using var server = await StartAsync();
        var manifest = Samples.Image().Encode();

        using var put = await server.Http.PutManifestAsync("hub/library/app", "1", manifest);
        await put.ShouldFailAsync(405, "UNSUPPORTED");
        Assert.Contains(ThroughServer.UpstreamHost, await put.Content.ReadAsStringAsync());
        using var upload = await server.Http.SendAsync("POST", "hub/library/app/blobs/uploads/");
        await upload.ShouldFailAsync(405, "UNSUPPORTED");
        using var build = await server.Http.SendAsync("POST", "hub/library/app/_build/v1/jobs", "{}"u8.ToArray());
        await build.ShouldFailAsync(405, "UNSUPPORTED");
        await server.Http.PushAsync("hub", Samples.Image(), "1");
        await server.Http.PushAsync("hubble/app", Samples.Image(), "1");
    }

    [Fact]
    public async Task Repositories_that_are_not_allowed_are_refused_and_not_asked_for()
    {
        await PushAsync("library/app", "1");
        await PushAsync("library/secret", "1");
        await PushAsync("other/app", "1");
        await using var server = await StartAsync(o => o with { Allow = ["library/*"], Deny = ["**/secret"] });

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/library/app/manifests/1"));
        foreach (var name in new[] { "library/secret", "other/app" })
        {
            var digest = Digest.EmptyJson;
            foreach (var path in new[] { "manifests/1", $"blobs/{digest}", "tags/list", $"referrers/{digest}" })
            {
                using var answer = await server.Http.GetAsync($"hub/{name}/{path}");
                await answer.ShouldFailAsync(403, "DENIED");
            }

            Assert.Equal(0, _registry.Requests($"GET /v2/{name}/"));
        }
    }
}
