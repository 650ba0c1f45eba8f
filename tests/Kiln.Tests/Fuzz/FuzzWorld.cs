using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Tests.Access;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Fuzz;

/// <summary>
/// What is in the server beside the fuzz: content that nobody but the administrator may change, which has to be there
/// byte for byte at the end, and content, sessions and jobs for the requests to be about.
/// </summary>
internal sealed class FuzzWorld : IDisposable
{
    /// <summary>What anybody may do in <c>fuzz/**</c>, and only the administrator elsewhere.</summary>
    public const string Policy = """
        htpasswd: users
        rules:
          - { who: root, repositories: "**", actions: admin }
          - { who: everybody, repositories: "fuzz/**", actions: [pull, push, delete, build] }
          - { who: everybody, repositories: "known/**", actions: pull }
        limits:
          failed-logins-per-minute: 0
        """;

    private const string Known = "known/app";
    private const int Sessions = 8;
    private const int MaxTags = 200;

    public static readonly string Admin = AccessServer.Basic("root");
    public static readonly string User = AccessServer.Basic("alice");

    private static readonly byte[][] Blobs =
    [
        Samples.EmptyJson,
        [],
        "a blob that everybody knows"u8.ToArray(),
        [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * 7))],
    ];

    private static readonly byte[] Image = Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"mediaType":"{{MediaTypes.OciManifest}}","config":{"mediaType":"{{MediaTypes.OciEmpty}}","digest":"{{Digest.EmptyJson}}","size":2},"layers":[]}"""
    );

    /// <summary>Digests of content that is there, some of it also by sha512.</summary>
    public static readonly string[] Digests =
    [
        .. Blobs.Select(b => Digest.Of(b).ToString()),
        Digest.Of(Image).ToString(),
        Digest.Of(Image, Digest.Sha512).ToString(),
        Digest.Of(Blobs[3], Digest.Sha512).ToString(),
    ];

    private readonly HttpClient _http;
    private readonly string[] _sessions = new string[Sessions];
    private string _job = FuzzCase.Job;

    public FuzzWorld(string url)
    {
        _http = new HttpClient { BaseAddress = new Uri(url + "/v2/"), Timeout = TimeSpan.FromMinutes(2) };
        _http.DefaultRequestHeaders.Authorization = AuthenticationHeaderValue.Parse(Admin);
    }

    /// <summary>A session that may or may not be in use already.</summary>
    public string SessionFor(int index) => _sessions[index % Sessions];

    public string Job => _job;

    /// <summary>Pushes what is to be there.</summary>
    public async Task FillAsync()
    {
        foreach (var repository in new[] { Known, "fuzz/a", "fuzz/b", "fuzz/b/c.d-e__f" })
        {
            foreach (var blob in Blobs)
            {
                await _http.PushBlobAsync(repository, blob);
                await _http.PushBlobAsync(repository, blob, Digest.Sha512);
            }

            foreach (var reference in new[] { "1.0", "latest", Digest.Of(Image, Digest.Sha512).ToString() })
            {
                using var pushed = await _http.PutManifestAsync(repository, reference, Image);
                Assert.True(pushed.IsSuccessStatusCode, await pushed.Content.ReadAsStringAsync());
            }
        }

        await RefreshAsync();
    }

    /// <summary>Opens new sessions and asks for a new build, where the server builds.</summary>
    public async Task RefreshAsync()
    {
        for (var i = 0; i < Sessions; i++)
        {
            using var started = await _http.SendAsync("POST", "fuzz/a/blobs/uploads/");
            _sessions[i] = started.Headers.Location?.ToString().Split('/')[^1] ?? _sessions[i] ?? new string('0', 32);
        }

        using var asked = await _http.SendAsync(
            "POST",
            "fuzz/a/_build/v1/jobs?cache=none",
            "FROM scratch\nCOPY a /a\n"u8.ToArray(),
            "text/x-dockerfile"
        );
        _job = asked.IsSuccessStatusCode ? asked.Headers.Location!.ToString().Split('/')[^1] : _job;
    }

    /// <summary>
    /// Nothing was lost, and nothing is half there: what was known is what it was, and whatever is listed can be pulled as
    /// a whole.
    /// </summary>
    public async Task CheckAsync()
    {
        Assert.Equal(["1.0", "latest"], await _http.TagsAsync(Known));
        foreach (var blob in Blobs)
        {
            Assert.Equal(blob, await _http.GetByteArrayAsync($"{Known}/blobs/{Digest.Of(blob)}"));
            Assert.Equal(blob, await _http.GetByteArrayAsync($"{Known}/blobs/{Digest.Of(blob, Digest.Sha512)}"));
        }

        foreach (var reference in new[] { "1.0", "latest", Digest.Of(Image, Digest.Sha512).ToString() })
        {
            Assert.Equal(Image, await _http.GetByteArrayAsync($"{Known}/manifests/{reference}"));
        }

        var catalog = await _http.GetJsonAsync("_catalog");
        foreach (var repository in catalog["repositories"]!.AsArray().Select(r => (string)r!))
        {
            foreach (var tag in (await _http.TagsAsync(repository)).TakeLast(MaxTags))
            {
                await CheckAsync(repository, tag);
            }
        }
    }

    public void Dispose() => _http.Dispose();

    private async Task CheckAsync(string repository, string reference)
    {
        using var response = await _http.GetAsync($"{repository}/manifests/{reference}");
        var content = await response.Content.ReadAsByteArrayAsync();
        var digest = Digest.Parse(response.Header("Docker-Content-Digest")!);
        Assert.Equal(digest, Digest.Of(content, digest.Algorithm));
        var manifest = ManifestReader.Read(content, response.Content.Headers.ContentType!.MediaType, out var fault);
        Assert.True(manifest is not null, fault);
        foreach (var blob in manifest.Layers.Concat(manifest.Config is null ? [] : [manifest.Config]))
        {
            if (!MediaTypes.IsNonDistributable(blob.MediaType) && blob.Urls is not { Count: > 0 })
            {
                var bytes = await _http.GetByteArrayAsync($"{repository}/blobs/{blob.Digest}");
                Assert.Equal(blob.Digest, Digest.Of(bytes, blob.Digest.Algorithm));
            }
        }

        foreach (var child in manifest.Manifests)
        {
            using var head = await _http.SendAsync("HEAD", $"{repository}/manifests/{child.Digest}");
            using var blob = await _http.SendAsync("HEAD", $"{repository}/blobs/{child.Digest}");
            Assert.True(head.IsSuccessStatusCode || blob.IsSuccessStatusCode, $"{repository} lacks {child.Digest}");
        }
    }
}
