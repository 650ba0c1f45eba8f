using System.Diagnostics;
using System.Formats.Tar;
using System.IO.Compression;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Cli;
using Kiln.Client.Archives;
using Kiln.Oci;
using Kiln.Tests.Cli;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Client;

/// <summary>Images out of a registry and into another one; archives that are made to mislead.</summary>
public sealed class ArchiveTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-archive-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("layout")]
    [InlineData("all.tar")]
    public async Task Everything_comes_back_byte_for_byte(string name)
    {
        await using var from = await TestServer.StartAsync();
        await using var to = await TestServer.StartAsync();
        await Checking.Kept.FillAsync(from.Http);
        var archive = Path.Combine(_folder, name);

        var (code, output, error) = await KilnAsync("export", "--referrers", $"{Host(from)}/a/app", archive);
        Assert.Equal((ExitCodes.Ok, 4), (code, output.Trim().Split('\n').Length));
        Assert.Contains("manifests and 2 blobs copied", error, StringComparison.Ordinal);
        var (again, _, _) = await KilnAsync("import", "--referrers", archive, $"{Host(to)}/a/app");
        Assert.Equal(ExitCodes.Ok, again);

        Assert.Equal(await SeenAsync(from), await SeenAsync(to));
        var (_, _, nothing) = await KilnAsync("import", "--referrers", archive, $"{Host(to)}/a/app");
        Assert.Contains("0 manifests and 0 blobs copied", nothing, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_same_images_give_the_same_tar()
    {
        await using var server = await TestServer.StartAsync();
        await Checking.Kept.FillAsync(server.Http);
        foreach (var format in new[] { "oci", "docker" })
        {
            await PushDockerLikeAsync(server);
            var (one, two) = (Path.Combine(_folder, $"{format}1.tar"), Path.Combine(_folder, $"{format}2.tar"));
            foreach (var archive in new[] { one, two })
            {
                var (code, _, error) = await KilnAsync("export", "--format", format, $"{Host(server)}/d:1", archive);
                Assert.True(code == ExitCodes.Ok, error);
            }

            Assert.Equal(await File.ReadAllBytesAsync(one, Cancel), await File.ReadAllBytesAsync(two, Cancel));
        }
    }

    // Skopeo gives folders that an archive lacks to root, which it may not do as an ordinary user.
    [Fact]
    public async Task Each_folder_of_a_tar_stands_before_what_is_in_it()
    {
        await using var server = await TestServer.StartAsync();
        await PushDockerLikeAsync(server);
        var archive = Path.Combine(_folder, "layout.tar");
        var (code, _, error) = await KilnAsync("export", $"{Host(server)}/d:1", archive);
        Assert.True(code == ExitCodes.Ok, error);

        await using var file = File.OpenRead(archive);
        await using var tar = new TarReader(file);
        var names = new List<string>();
        while (await tar.GetNextEntryAsync(cancellationToken: Cancel) is { } entry)
        {
            Assert.Equal(entry.Name.EndsWith('/'), entry.EntryType == TarEntryType.Directory);
            names.Add(entry.Name);
        }

        Assert.Equal(["blobs/", "blobs/sha256/"], names.Where(name => name.EndsWith('/')));
        Assert.All(
            names.Where(name => name.TrimEnd('/').Contains('/', StringComparison.Ordinal)),
            name => Assert.Contains(name[..(name.TrimEnd('/').LastIndexOf('/') + 1)], names[..names.IndexOf(name)])
        );
    }

    [Fact]
    public async Task A_pipe_in_place_of_a_file_is_refused_and_waited_for_by_nobody()
    {
        await using var server = await TestServer.StartAsync();
        await Checking.Kept.FillAsync(server.Http);
        var archive = Path.Combine(_folder, "layout");
        await KilnAsync("export", $"{Host(server)}/a/app", archive);
        var blob = Directory
            .EnumerateFiles(Path.Combine(archive, "blobs"), "*", SearchOption.AllDirectories)
            .OrderByDescending(file => new FileInfo(file).Length)
            .First();
        foreach (var place in new[] { blob, Path.Combine(archive, "index.json"), Path.Combine(_folder, "image.tar") })
        {
            File.Delete(place);
            using var made = Process.Start("mkfifo", place);
            await made.WaitForExitAsync(Cancel);
            var source = place.StartsWith(archive, StringComparison.Ordinal) ? archive : place;
            // A pipe that is opened waits for a writer, in the kernel.
            var (code, _, error) = await Task.Run(() => KilnAsync("import", source, $"{Host(server)}/fresh"), Cancel)
                .WaitAsync(TimeSpan.FromMinutes(2), Cancel);
            Assert.NotEqual(ExitCodes.Ok, code);
            Assert.Contains("no regular file", error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Only_tags_that_fit_go()
    {
        await using var from = await TestServer.StartAsync();
        await using var to = await TestServer.StartAsync();
        await Checking.Kept.FillAsync(from.Http);
        var archive = Path.Combine(_folder, "some.tar");

        await KilnAsync("export", "--tag", "l*", "--tag", "?", $"{Host(from)}/a/app", archive);
        await KilnAsync("import", "--tag", "?", archive, $"{Host(to)}/x");

        Assert.Equal(["1", "2"], await to.Http.TagsAsync("x"));
        var (code, _, error) = await KilnAsync("import", archive, $"{Host(to)}/x:one");
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("choose one with --tag", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task What_docker_saved_becomes_images_with_their_tags(bool gzipLayers, bool gzipAll)
    {
        await using var server = await TestServer.StartAsync();
        var archive = SaveLikeDocker(gzipLayers, ("x/app:1", 0), ("x/app:also-1", 0), ("y/other:2", 1));
        if (gzipAll)
        {
            await using var zip = new GZipStream(File.Create(archive + ".gz"), CompressionLevel.Fastest);
            await zip.WriteAsync(await File.ReadAllBytesAsync(archive, Cancel), Cancel);
            archive += ".gz";
        }

        var (code, _, error) = await KilnAsync("import", archive, $"{Host(server)}/d");

        Assert.True(code == ExitCodes.Ok, error);
        Assert.Equal(["1", "2", "also-1"], await server.Http.TagsAsync("d"));
        var manifest = await server.Http.GetJsonAsync("d/manifests/1");
        Assert.Equal(
            gzipLayers ? MediaTypes.OciLayerGzip : MediaTypes.OciLayerTar,
            (string)manifest["layers"]![0]!["mediaType"]!
        );
        // Out in the same form, and in again: the same image.
        var saved = Path.Combine(_folder, "again.tar");
        Assert.Equal(
            ExitCodes.Ok,
            (await KilnAsync("export", "--format", "docker", $"{Host(server)}/d:1", saved)).Code
        );
        Assert.Equal(ExitCodes.Ok, (await KilnAsync("import", saved, $"{Host(server)}/e:1")).Code);
        Assert.Equal(manifest.ToJsonString(), (await server.Http.GetJsonAsync("e/manifests/1")).ToJsonString());
    }

    [Fact]
    public async Task Archives_that_are_made_to_mislead_are_refused_in_a_sentence_and_nothing_is_pushed()
    {
        await using var server = await TestServer.StartAsync();
        var blob = "{}"u8.ToArray();
        var image = Samples.Image(Samples.Descriptor(blob, MediaTypes.OciLayerTar)).Encode();
        var index = Samples.Index(Samples.Descriptor(image, MediaTypes.OciManifest)).Encode();
        (string, byte[])[] good =
        [
            ("oci-layout", """{"imageLayoutVersion":"1.0.0"}"""u8.ToArray()),
            ("index.json", index),
            (BlobName(image), image),
            (BlobName(blob), blob),
        ];
        await RefusesAsync(server, "leads out", [.. good, ("../etc/passwd", blob)]);
        await RefusesAsync(server, "absolute", [.. good, ("/etc/passwd", blob)]);
        await RefusesAsync(server, "twice", [.. good, ("./index.json", index)]);
        await RefusesAsync(server, "another digest", [good[0], good[1], (BlobName(image), index), good[3]]);
        await RefusesAsync(server, "it is not there", good[..3]);
        await RefusesAsync(server, "have the digest", [.. good[..3], (BlobName(blob), "[]"u8.ToArray())]);
        await RefusesAsync(server, "were promised", [.. good[..3], (BlobName(blob), "{} "u8.ToArray())]);
        await RefusesAsync(server, "neither", good[2..]);
        await RefusesAsync(server, "no version", [("oci-layout", "{}"u8.ToArray()), .. good[1..]]);
        await RefusesAsync(server, "lists no image", [good[0], ("index.json", Samples.Index().Encode())]);
        await RefusesAsync(server, "limit", [good[0], ("index.json", new byte[9 << 20])]);
        await RefusesAsync(server, "not valid JSON", [good[0], ("index.json", "{"u8.ToArray())]);
        await RefusesAsync(
            server,
            "is not there",
            [("manifest.json", """[{"Config":"c.json","Layers":[]}]"""u8.ToArray())]
        );

        var cut = Tar("cut.tar", good);
        await using (var file = File.OpenWrite(cut))
        {
            file.SetLength(file.Length - 2000);
        }

        await RefusesAsync(server, "cut off", cut);
        await File.WriteAllBytesAsync(cut, Samples.Bytes(2000), Cancel);
        await RefusesAsync(server, "no tar", cut);
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", "hostile/tags/list"));
    }

    [Theory]
    [InlineData(TarEntryType.SymbolicLink, "../../etc/passwd", "leads out")]
    [InlineData(TarEntryType.SymbolicLink, "/etc/passwd", "absolute")]
    [InlineData(TarEntryType.HardLink, "a/layer.tar", "leads nowhere")]
    [InlineData(TarEntryType.CharacterDevice, "", "is no file")]
    public async Task Links_lead_only_to_what_is_in_the_archive(TarEntryType type, string target, string why)
    {
        await using var server = await TestServer.StartAsync();
        var path = Path.Combine(_folder, "links.tar");
        await using (var tar = new TarWriter(File.Create(path)))
        {
            var entry = new GnuTarEntry(type, "a/layer.tar");
            if (target.Length > 0)
            {
                entry.LinkName = target;
            }

            await tar.WriteEntryAsync(entry, Cancel);
            Add(tar, "c.json", Encoding.UTF8.GetBytes($$$"""{"rootfs":{"diff_ids":["{{{Digest.EmptyJson}}}"]}}"""));
            Add(tar, "manifest.json", """[{"Config":"c.json","Layers":["a/layer.tar"]}]"""u8.ToArray());
        }

        await RefusesAsync(server, why, path);
    }

    [Theory]
    [InlineData('x', 2_000_000_000, false, "header of 2000000000 bytes")]
    [InlineData('g', 2_000_000_000, true, "header of 2000000000 bytes")]
    [InlineData('L', 2_000_000_000, false, "header of 2000000000 bytes")]
    [InlineData('K', 2_000_000_000, false, "header of 2000000000 bytes")]
    [InlineData('0', 8_000_000_000, false, "cut off")]
    [InlineData('0', long.MaxValue - 512, true, "cut off")]
    [InlineData('0', long.MaxValue, true, "not a number")]
    public async Task A_header_that_claims_what_is_not_there_costs_nothing(
        char type,
        long size,
        bool binary,
        string why
    )
    {
        await using var server = await TestServer.StartAsync();
        var path = Path.Combine(_folder, "claims.tar");
        byte[] small = [.. Inspect.Tars.Header("a", '0', 1, false), .. Inspect.Tars.Padded("a")];
        await File.WriteAllBytesAsync(
            path,
            [.. small, .. Inspect.Tars.Header("b", type, size, binary), .. new byte[64 << 10]],
            Cancel
        );

        await RefusesAsync(server, why, path);
    }

    [Fact]
    public async Task An_archive_in_zstd_is_imported_and_one_that_unpacks_to_more_than_files_do_is_not()
    {
        await using var server = await TestServer.StartAsync();
        using var compressor = new ZstdSharp.Compressor();
        var saved = SaveLikeDocker(gzip: true, ("x/app:1", 0));
        var packed = Path.Combine(_folder, "saved.tar.zst");
        await File.WriteAllBytesAsync(
            packed,
            compressor.Wrap(await File.ReadAllBytesAsync(saved, Cancel)).ToArray(),
            Cancel
        );
        Assert.Equal(ExitCodes.Ok, (await KilnAsync("import", packed, $"{Host(server)}/d:1")).Code);

        var bomb = Path.Combine(_folder, "bomb.tar");
        await File.WriteAllBytesAsync(bomb, compressor.Wrap(new byte[256 << 20]).ToArray(), Cancel);
        await RefusesAsync(server, "unpacks to", bomb);
        await using (var zip = new GZipStream(File.Create(bomb), CompressionLevel.Fastest))
        {
            await zip.WriteAsync(new byte[2 << 20], Cancel);
        }

        var e = await Assert.ThrowsAsync<InvalidDataException>(() => ArchiveFiles.OpenAsync(bomb, 1 << 20, Cancel));
        Assert.Contains("larger than 1048576 bytes", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_directory_with_links_is_refused_and_one_with_something_else_is_not_written_to()
    {
        await using var server = await TestServer.StartAsync();
        await PushDockerLikeAsync(server);
        var layout = Path.Combine(_folder, "linked");
        await KilnAsync("export", $"{Host(server)}/d:1", layout);
        File.Move(Path.Combine(layout, "index.json"), Path.Combine(_folder, "elsewhere"));
        File.CreateSymbolicLink(Path.Combine(layout, "index.json"), Path.Combine(_folder, "elsewhere"));
        await RefusesAsync(server, "is a link", layout);

        var (code, _, error) = await KilnAsync("export", $"{Host(server)}/d:1", _folder);
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("something else in it", error, StringComparison.Ordinal);
    }

    private static Task<string> SeenAsync(TestServer server) => Checking.Kept.SeenOfAsync(server.Http, "a/app");

    private Task RefusesAsync(TestServer server, string why, (string, byte[])[] files) =>
        RefusesAsync(server, why, Tar("hostile.tar", files));

    private static async Task RefusesAsync(TestServer server, string why, string archive)
    {
        var (code, _, error) = await KilnAsync("import", archive, $"{Host(server)}/hostile:1");
        Assert.NotEqual(ExitCodes.Ok, code);
        Assert.Contains(why, error, StringComparison.Ordinal);
        Assert.DoesNotContain("bug", error, StringComparison.Ordinal);
    }

    private static async Task PushDockerLikeAsync(TestServer server)
    {
        var config = """{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"""u8.ToArray();
        await server.Http.PushBlobAsync("d", config);
        var image = Samples.Image();
        image["config"] = Samples.Descriptor(config, MediaTypes.OciConfig);
        await server.Http.PushAsync("d", image, "1");
    }

    // As docker did until 24: a folder for each layer.
    private string SaveLikeDocker(bool gzip, params (string Name, int Image)[] names)
    {
        var files = new List<(string, byte[])>();
        var list = new JsonArray();
        foreach (var image in names.GroupBy(n => n.Image))
        {
            var layer = File.ReadAllBytes(Tar("layer.tar", [($"file{image.Key}", Samples.Bytes(1000))]));
            var diff = Digest.Of(layer);
            using var packed = new MemoryStream();
            using (var zip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
            {
                zip.Write(layer);
            }

            files.Add(($"{diff.Encoded}/layer.tar", gzip ? packed.ToArray() : layer));
            files.Add(
                (
                    $"{image.Key}.json",
                    Encoding.UTF8.GetBytes(
                        $$$"""{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["{{{diff}}}"]}}"""
                    )
                )
            );
            list.Add(
                new JsonObject
                {
                    ["Config"] = $"{image.Key}.json",
                    ["RepoTags"] = new JsonArray([.. image.Select(n => (JsonNode)n.Name)]),
                    ["Layers"] = new JsonArray($"{diff.Encoded}/layer.tar"),
                }
            );
        }

        files.Add(("manifest.json", Encoding.UTF8.GetBytes(list.ToJsonString())));
        return Tar("saved.tar", [.. files]);
    }

    private string Tar(string name, (string Name, byte[] Content)[] files)
    {
        var path = Path.Combine(_folder, name);
        using var tar = new TarWriter(File.Create(path));
        foreach (var (file, content) in files)
        {
            Add(tar, file, content);
        }

        return path;
    }

    private static void Add(TarWriter tar, string name, byte[] content) =>
        tar.WriteEntry(new GnuTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content) });

    private static string BlobName(byte[] content) => $"blobs/sha256/{Digest.Of(content).Encoded}";

    private static string Host(TestServer server) => new Uri(server.Url).Authority;

    private static async Task<(int Code, string Output, string Error)> KilnAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await CommandLine.RunAsync(arguments, TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }
}
