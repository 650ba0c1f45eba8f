using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Cli;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Tests.Cli;
using Kiln.Tests.Inspect;
using Kiln.Tests.Registry;
using Kiln.Tests.Spec;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>What an image is good for, attached to products and to what was pushed (build-extension, "Products and hints").</summary>
public sealed class HintsTests : IAsyncLifetime
{
    private BuildServer _server = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private HttpClient Http => _server.Http;

    public async ValueTask InitializeAsync() => _server = await BuildServer.StartAsync();

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task A_product_has_its_hints_attached_as_soon_as_the_job_is_done()
    {
        var job = await _server.SubmitAsync("?tag=1.0");
        await _server.Node.SucceedAsync(await _server.Node.ClaimAsync(), "12345");

        var output = Assert.Single((await _server.GetAsync(job.Id)).Result!.Outputs);
        var text = await AttachedAsync(output.Hints!, output.Manifest.Digest);
        Assert.Empty(Schemas.Faults("hints", text));
        var document = HintsDocument.Read(Encoding.UTF8.GetBytes(text), out _)!;
        Assert.Equal((output.Manifest.Digest, "linux/amd64"), (document.Subject.Digest, document.Platform));
        Assert.Equal((5, 1), (document.Files.Bytes, document.Files.Count));
        var entry = Assert.Single((await _server.TagAsync("1.0"))!.Manifests);
        Assert.Equal(entry.Annotations!.OrderBy(a => a.Key), document.Annotations.OrderBy(a => a.Key));
        // Who asks later gets the same.
        Assert.Equal(text, await Http.GetStringAsync(Hints(output.Manifest.Digest), Cancel));
    }

    [Fact]
    public async Task A_product_with_a_layer_that_cannot_be_read_has_none_and_is_published_all_the_same()
    {
        var job = await _server.SubmitAsync("?tag=1.0");
        var lease = await _server.Node.ClaimAsync();
        var image = await PushImageAsync(lease, "no tar at all"u8.ToArray());
        await _server.Node.CompleteAsync(lease, new LeaseResult { State = BuildStates.Succeeded, Manifest = image });

        var done = await _server.GetAsync(job.Id);
        Assert.Equal(BuildStates.Succeeded, done.State);
        Assert.Null(done.Result!.Outputs[0].Hints);
        using var asked = await Http.GetAsync(Hints(image.Digest), Cancel);
        await asked.ShouldFailAsync(404, "BUILD_HINTS_UNKNOWN");
    }

    [Fact]
    public async Task A_pushed_image_is_measured_on_request_once_and_stays_as_it_is()
    {
        var image = await PushAsync(new Tars().Program("usr/bin/app", ElfFiles.Mpi).Gzip());
        using (var early = await Http.GetAsync(Hints(image.Digest), Cancel))
        {
            await early.ShouldFailAsync(404, "BUILD_HINTS_UNKNOWN");
        }

        using var made = await Http.SendAsync("POST", Hints(image.Digest).ToString());
        Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        using var again = await Http.SendAsync("POST", Hints(image.Digest).ToString());
        Assert.Equal((HttpStatusCode.Created, made.Headers.Location), (again.StatusCode, again.Headers.Location));

        var document = await Http.GetStringAsync(Hints(image.Digest), Cancel);
        Assert.Empty(Schemas.Faults("hints", document));
        Assert.Equal("openmpi", (string?)JsonNode.Parse(document)!["mpi"]![0]!["family"]);
        var listed = (await Http.GetJsonAsync($"{BuildServer.Repository}/referrers/{image.Digest}"))["manifests"]!;
        var referrer = Assert.Single(listed.AsArray())!;
        Assert.Equal(BuildMediaTypes.Hints, (string?)referrer["artifactType"]);
        Assert.EndsWith((string)referrer["digest"]!, made.Headers.Location!.ToString(), StringComparison.Ordinal);
        Assert.Equal("openmpi", (string?)referrer["annotations"]!["org.supercontainers.mpi"]);
        var descriptor = new Descriptor
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.Parse((string)referrer["digest"]!),
            Size = (long)referrer["size"]!,
            ArtifactType = BuildMediaTypes.Hints,
        };
        Assert.Equal(document, await AttachedAsync(descriptor, image.Digest));
        Assert.Equal(HttpStatusCode.OK, await Http.StatusAsync("HEAD", Hints(image.Digest).ToString()));
    }

    [Fact]
    public async Task What_is_no_image_or_not_there_is_refused_with_a_sentence()
    {
        var image = await PushAsync(new Tars().File("a", "x").Gzip());
        var index = await Http.PushAsync(
            BuildServer.Repository,
            Samples.Index(Samples.Descriptor(image.Content, MediaTypes.OciManifest))
        );
        var artifact = await Http.PushAsync(BuildServer.Repository, Samples.Image());
        foreach (var method in new[] { "GET", "POST" })
        {
            await ShouldFailAsync(method, $"?digest={index["digest"]}", 400, "BUILD_REQUEST_INVALID");
            await ShouldFailAsync(method, $"?digest={artifact["digest"]}", 400, "BUILD_REQUEST_INVALID");
            await ShouldFailAsync(method, "", 400, "BUILD_REQUEST_INVALID");
            await ShouldFailAsync(method, "?digest=1.0", 400, "DIGEST_INVALID");
            await ShouldFailAsync(method, $"?digest={Digest.Of("none"u8)}", 404, "MANIFEST_UNKNOWN");
        }

        var broken = await PushAsync("no tar at all"u8.ToArray());
        await ShouldFailAsync("POST", $"?digest={broken.Digest}", 404, "BUILD_HINTS_UNKNOWN");
        var config = await PushAsync(new Tars().File("b", "x").Gzip(), "no JSON"u8.ToArray());
        await ShouldFailAsync("POST", $"?digest={config.Digest}", 404, "BUILD_HINTS_UNKNOWN");
    }

    [Fact]
    public async Task Nothing_is_told_of_a_layer_that_the_repository_does_not_have()
    {
        var secret = new Tars().File("opt/secret/plan", "x").Gzip();
        using (var body = new ByteArrayContent(secret))
        using (
            var pushed = await Http.PostAsync(
                new Uri($"{Samples.Repository()}/blobs/uploads/?digest={Digest.Of(secret)}", UriKind.Relative),
                body,
                Cancel
            )
        )
        {
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        }

        var config = Config(secret);
        await _server.PushBlobAsync(config, MediaTypes.OciConfig);
        var manifest = JsonSerializer.SerializeToUtf8Bytes(
            new ImageManifest
            {
                Config = Of(config, MediaTypes.OciConfig),
                Layers = [Of(secret, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")],
            },
            OciJson.Default.ImageManifest
        );
        using (var put = await Http.PutManifestAsync(BuildServer.Repository, "borrowed", manifest))
        {
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        }

        await ShouldFailAsync("POST", $"?digest={Digest.Of(manifest)}", 404, "MANIFEST_BLOB_UNKNOWN");
        await ShouldFailAsync("GET", $"?digest={Digest.Of(manifest)}", 404, "MANIFEST_BLOB_UNKNOWN");
    }

    [Fact]
    public async Task A_config_that_is_larger_than_it_says_is_not_read()
    {
        var layer = new Tars().File("a", "x").Gzip();
        var config = Encoding.UTF8.GetBytes(
            $$"""{"architecture":"amd64","os":"linux","x":"{{new string('x', 5 << 20)}}"}"""
        );
        await _server.PushBlobAsync(layer, MediaTypes.OciLayerGzip);
        await _server.PushBlobAsync(config, MediaTypes.OciConfig);
        var manifest = JsonSerializer.SerializeToUtf8Bytes(
            new ImageManifest
            {
                Config = Of(config, MediaTypes.OciConfig) with { Size = 100 },
                Layers = [Of(layer, MediaTypes.OciLayerGzip)],
            },
            OciJson.Default.ImageManifest
        );
        using var put = await Http.PutManifestAsync(BuildServer.Repository, "large", manifest);
        Assert.Equal(HttpStatusCode.Created, put.StatusCode);

        await ShouldFailAsync("POST", $"?digest={Digest.Of(manifest)}", 404, "BUILD_HINTS_UNKNOWN");
    }

    /// <summary>A database of an earlier program has facts that say nothing of programs.</summary>
    [Fact]
    public async Task What_an_earlier_program_knew_of_a_layer_is_found_out_anew()
    {
        var layer = new Tars().Program("usr/bin/app", ElfFiles.Mpi).Gzip();
        var image = await PushAsync(layer);
        using var old = new MemoryStream();
        await using (
            var gzip = new System.IO.Compression.GZipStream(old, System.IO.Compression.CompressionMode.Compress)
        )
        {
            gzip.Write("""{"TarBytes":1024,"Entries":[{"p":"usr/bin/app","m":493,"s":1}]}"""u8);
        }

        await _server
            .Services.GetRequiredService<Database>()
            .WriteAsync(
                transaction =>
                    transaction.Run(
                        "INSERT INTO layer_facts (digest, diff_id, facts) VALUES (@digest, NULL, @facts)",
                        ("digest", Digest.Of(layer).ToString()),
                        ("facts", old.ToArray())
                    ),
                Cancel
            );

        await ShouldFailAsync("GET", $"?digest={image.Digest}", 404, "BUILD_HINTS_UNKNOWN");
        Assert.Equal(HttpStatusCode.Created, await Http.StatusAsync("POST", Hints(image.Digest).ToString()));
        var document = JsonNode.Parse(await Http.GetStringAsync(Hints(image.Digest), Cancel))!;
        Assert.Equal("openmpi", (string?)document["mpi"]![0]!["family"]);
    }

    [Fact]
    public async Task Inspect_measures_what_the_registry_has_not_and_says_the_same_as_the_registry()
    {
        var layer = new Tars().Program("usr/bin/app", ElfFiles.Mpi).File("etc/shadow", "x", mode: 0x1a0, group: 42);
        var image = await PushAsync(layer.Gzip(), tag: "pushed");
        var name = $"{_server.Host}/{BuildServer.Repository}:pushed";

        var (code, here, told) = await RunAsync("inspect", "--hints", "--json", name);
        Assert.Equal((ExitCodes.Ok, true), (code, told.Contains("reading sha256:", StringComparison.Ordinal)));
        (code, var there, told) = await RunAsync("inspect", "--hints", "--json", "--attach", name);
        Assert.Equal((ExitCodes.Ok, here, ""), (code, there, told));
        Assert.Equal(here, await Http.GetStringAsync(Hints(image.Digest), Cancel) + "\n");

        (code, var text, told) = await RunAsync("inspect", "--hints", name);
        Assert.Equal((ExitCodes.Ok, ""), (code, told));
        Assert.Contains(
            "openmpi: libmpi.so.40, not in the image, needed by usr/bin/app",
            text,
            StringComparison.Ordinal
        );
        Assert.Contains("0640 0:42 etc/shadow", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Inspect_takes_the_image_of_an_index_that_is_asked_for()
    {
        await _server.SubmitAsync("?tag=2.0&platform=linux/amd64,linux/arm64");
        await _server.Node.SucceedAsync(await _server.Node.ClaimAsync(), "one");
        await _server.Node.SucceedAsync(await _server.Node.ClaimAsync(), "other");
        var name = $"{_server.Host}/{BuildServer.Repository}:2.0";

        var (code, text, _) = await RunAsync("inspect", "--hints", "--platform", "linux/arm64", name);
        Assert.Equal((ExitCodes.Ok, true), (code, text.Contains("linux/arm64", StringComparison.Ordinal)));
        (code, _, var error) = await RunAsync("inspect", "--hints", "--platform", "linux/s390x", name);
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("it has linux/amd64, linux/arm64", error, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, (await RunAsync("inspect", "--attach", name)).Code);
    }

    [Fact]
    public async Task Inspect_does_not_believe_a_layer_that_has_other_bytes()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("it looks into the data directory");
        var layer = new Tars().File("a", new string('x', 5000)).Bytes();
        await PushAsync(layer, tag: "broken");
        var file = Directory
            .EnumerateFiles(_server.DataDirectory, Digest.Of(layer).Encoded, SearchOption.AllDirectories)
            .Single();
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        layer[600] ^= 1;
        await File.WriteAllBytesAsync(file, layer, Cancel);

        var (code, _, error) = await RunAsync("inspect", "--hints", $"{_server.Host}/{BuildServer.Repository}:broken");

        Assert.Equal(ExitCodes.NotPossible, code);
        Assert.Contains("have the digest", error, StringComparison.Ordinal);
    }

    private static Uri Hints(Digest image) =>
        new($"{BuildServer.Repository}/_build/v1/hints?digest={image}", UriKind.Relative);

    private async Task ShouldFailAsync(string method, string query, int status, string code)
    {
        using var response = await Http.SendAsync(method, $"{BuildServer.Repository}/_build/v1/hints{query}");
        await response.ShouldFailAsync(status, code);
    }

    private static async Task<(int Code, string Out, string Error)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await CommandLine.RunAsync(arguments, TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }

    // The document in its manifest, as anybody pulls it.
    private async Task<string> AttachedAsync(Descriptor attached, Digest image)
    {
        var manifest = await Http.GetByteArrayAsync(
            new Uri($"{BuildServer.Repository}/manifests/{attached.Digest}", UriKind.Relative),
            Cancel
        );
        var info = ManifestReader.Read(manifest, null, out _)!;
        Assert.Equal((BuildMediaTypes.Hints, attached.Size), (info.ArtifactType, manifest.Length));
        Assert.Equal(image, info.Subject!.Digest);
        var layer = Assert.Single(info.Layers);
        Assert.Equal(BuildMediaTypes.Hints, layer.MediaType);
        return await Http.GetStringAsync(
            new Uri($"{BuildServer.Repository}/blobs/{layer.Digest}", UriKind.Relative),
            Cancel
        );
    }

    private async Task<Descriptor> PushImageAsync(Lease lease, byte[] layer)
    {
        var config = Config(layer);
        var coordinator = _server.Coordinator;
        foreach (var blob in new[] { layer, config })
        {
            await coordinator.PushBlobAsync(lease, async (to, cancel) => await to.WriteAsync(blob, cancel), Cancel);
        }

        return await coordinator.PushManifestAsync(lease, Manifest(layer, config), MediaTypes.OciManifest, Cancel);
    }

    private async Task<(Digest Digest, byte[] Content)> PushAsync(
        byte[] layer,
        byte[]? config = null,
        string? tag = null
    )
    {
        config ??= Config(layer);
        await _server.PushBlobAsync(layer, MediaTypes.OciLayerGzip);
        await _server.PushBlobAsync(config, MediaTypes.OciConfig);
        var manifest = Manifest(layer, config);
        var digest = Digest.Of(manifest);
        using var pushed = await Http.PutManifestAsync(BuildServer.Repository, tag ?? $"{digest}", manifest);
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        return (digest, manifest);
    }

    // Of what is no archive the blob itself is what the registry finds under its digest.
    private static byte[] Config(byte[] layer) =>
        Encoding.UTF8.GetBytes(
            $$"""{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["{{Digest.Of(layer)}}"] } }"""
        );

    private static byte[] Manifest(byte[] layer, byte[] config) =>
        JsonSerializer.SerializeToUtf8Bytes(
            new ImageManifest
            {
                Config = Of(config, MediaTypes.OciConfig),
                Layers = [Of(layer, MediaTypes.OciLayerGzip)],
            },
            OciJson.Default.ImageManifest
        );

    private static Descriptor Of(byte[] bytes, string type) =>
        new()
        {
            MediaType = type,
            Digest = Digest.Of(bytes),
            Size = bytes.Length,
        };
}
