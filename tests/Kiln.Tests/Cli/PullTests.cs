using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Cli;
using Kiln.Oci;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Cli;

/// <summary><c>kiln pull</c>: the best image of an index, as a script asks for it.</summary>
public sealed class PullTests : IAsyncLifetime
{
    private const string Name = "hpc/app";
    private TestServer _server = null!;

    private string Image => $"{new Uri(_server.Url).Authority}/{Name}";

    public async ValueTask InitializeAsync() => _server = await TestServer.StartAsync();

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task The_image_is_that_which_makes_most_of_the_machine_and_it_is_said_why()
    {
        await PushAsync();

        var (code, text, error) = await PullAsync("--print", "--platform", "linux/amd64/v4", $"{Image}:1");
        Assert.Equal((ExitCodes.Ok, 3), (code, Number(text)));
        Assert.Contains("linux/amd64/v3", error, StringComparison.Ordinal);
        Assert.Equal(1, Number((await PullAsync("--print", "--platform", "linux/amd64/v2", $"{Image}:1")).Out));
        Assert.Equal(4, Number((await PullAsync("--print", "--microarchitecture", "zen4", $"{Image}:1")).Out));
        Assert.Equal(2, Number((await PullAsync("--print", "--platform", "linux/arm64", $"{Image}:1")).Out));
        // Whatever this machine is, one of them is for it.
        Assert.InRange(Number((await PullAsync("--print", "--for-this-node", $"{Image}:1")).Out), 1, 4);
        Assert.Equal(
            $"{Image}@{_digests[0]}\n",
            (await PullAsync("--print", "--platform", "linux/amd64", $"{Image}:1")).Out
        );

        int Number(string reference) =>
            reference.StartsWith($"{Image}@sha256:", StringComparison.Ordinal)
                ? 1 + _digests.IndexOf(Digest.Parse(reference.Trim()[(Image.Length + 1)..]))
                : 0;
    }

    [Fact]
    public async Task It_goes_into_an_archive_like_any_other()
    {
        await PushAsync();
        var directory = Directory.CreateTempSubdirectory("kiln-pull-");
        try
        {
            var layout = Path.Combine(directory.FullName, "layout");
            var (code, text, error) = await PullAsync("--platform", "linux/amd64/v3", $"{Image}:1", layout);
            Assert.True(code == ExitCodes.Ok, error);
            Assert.Equal($"{_digests[2]} 1\n", text);
            Assert.True(File.Exists(Path.Combine(layout, "blobs", "sha256", _digests[2].Encoded)));
            Assert.False(File.Exists(Path.Combine(layout, "blobs", "sha256", _digests[0].Encoded)));
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task What_does_not_run_there_is_refused_with_what_it_needs()
    {
        var special = (await PushAsync())[3];
        await _server.Http.PushAsync(Name, Samples.Index(special.DeepClone()), "zen");

        var (code, _, error) = await PullAsync("--print", "--platform", "linux/amd64/v3", $"{Image}:zen");
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("it is for zen3, which this is not", error, StringComparison.Ordinal);
        (code, _, error) = await PullAsync("--print", "--platform", "linux/s390x", $"{Image}:1");
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("linux/arm64", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_no_machine_is_named_it_is_this_one()
    {
        await PushAsync();
        var directory = Directory.CreateTempSubdirectory("kiln-pull-");
        try
        {
            var (code, text, error) = await PullAsync($"{Image}:1", Path.Combine(directory.FullName, "app.tar"));
            Assert.True(code == ExitCodes.Ok, error);
            Assert.Contains(text.Split(' ')[0], _digests.Select(d => d.ToString()));
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData(BuildMediaTypes.SifConfig, BuildMediaTypes.SifLayer, null)]
    [InlineData(MediaTypes.OciConfig, BuildMediaTypes.SquashfsLayer, BuildMediaTypes.Squashfs)]
    public async Task What_is_one_file_is_written_as_that_file(string config, string layer, string? artifactType)
    {
        var arm = """{"architecture":"arm64","os":"linux"}"""u8.ToArray();
        await _server.Http.PushBlobAsync(Name, arm);
        var plain = Samples.Image(Samples.Descriptor(await PushLayerAsync(), MediaTypes.OciLayerTar));
        plain["config"] = Samples.Descriptor(arm, MediaTypes.OciConfig);
        var image = await _server.Http.PushAsync(Name, plain);
        var bytes = Samples.Bytes(5000);
        await _server.Http.PushBlobAsync(Name, bytes);
        await _server.Http.PushBlobAsync(Name, "{}"u8.ToArray());
        var manifest = Samples.Image(Samples.Descriptor(bytes, layer));
        manifest["config"] = Samples.Descriptor("{}"u8.ToArray(), config);
        manifest["artifactType"] = artifactType;
        manifest["subject"] = new JsonObject
        {
            ["mediaType"] = MediaTypes.OciManifest,
            ["digest"] = (string)image["digest"]!,
            ["size"] = (int)image["size"]!,
        };
        var digest = (string)(await _server.Http.PushAsync(Name, manifest, "1-file"))["digest"]!;
        var directory = Directory.CreateTempSubdirectory("kiln-pull-");
        try
        {
            var file = Path.Combine(directory.FullName, "app.file");
            var (code, text, error) = await PullAsync($"{Image}:1-file", file);
            Assert.True(code == ExitCodes.Ok, error);
            Assert.Equal($"{digest} 1-file\n", text);
            Assert.Equal(bytes, await File.ReadAllBytesAsync(file, TestContext.Current.CancellationToken));
            Assert.Single(directory.GetFileSystemInfos());
            Assert.Equal(
                $"{Image}@{digest}\n",
                (await PullAsync("--print", "--platform", "linux/arm64", $"{Image}:1-file")).Out
            );

            (code, _, error) = await PullAsync($"{Image}:1-file", directory.FullName);
            Assert.Equal(ExitCodes.Usage, code);
            Assert.Contains("is a directory", error, StringComparison.Ordinal);
            // It was made of the image for arm64.
            (code, _, error) = await PullAsync("--platform", "linux/s390x", $"{Image}:1-file", file);
            Assert.Equal(ExitCodes.Usage, code);
            Assert.Contains("is for linux/arm64", error, StringComparison.Ordinal);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("say for which machine", "--print")]
    [InlineData("say where the image goes", "--for-this-node")]
    [InlineData("--print copies nothing", "--for-this-node", "--print", "x.tar")]
    [InlineData("leave --platform", "--for-this-node", "--platform", "linux/amd64", "--print")]
    [InlineData("zen3 is no linux/arm64", "--platform", "linux/arm64", "--microarchitecture", "zen3", "--print")]
    [InlineData("'x' is not a platform", "--platform", "x", "--print")]
    [InlineData("did you mean 'zen3'?", "--microarchitecture", "zen33", "--print")]
    [InlineData("docker loads tars only", "--for-this-node", "--format", "docker", "directory")]
    public async Task Words_that_say_too_little_or_too_much_are_refused(string expected, params string[] words)
    {
        await PushAsync();
        var (code, _, error) = await PullAsync([$"{Image}:1", .. words]);
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains(expected, error, StringComparison.Ordinal);
    }

    private readonly List<Digest> _digests = [];

    // amd64, arm64, amd64/v3, and amd64/v3 for zen3.
    private async Task<List<JsonObject>> PushAsync()
    {
        var entries = new List<JsonObject>();
        foreach (
            var (platform, target) in new[]
            {
                ("linux/amd64", null),
                ("linux/arm64", null),
                ("linux/amd64/v3", "x86_64_v3"),
                ("linux/amd64/v3", "zen3"),
            }
        )
        {
            var layer = await PushLayerAsync();
            var pushed = await _server.Http.PushAsync(
                Name,
                Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar))
            );
            var parts = platform.Split('/');
            pushed["platform"] = new JsonObject
            {
                ["os"] = parts[0],
                ["architecture"] = parts[1],
                ["variant"] = parts.ElementAtOrDefault(2),
            };
            pushed["annotations"] = target is null ? null : new JsonObject { ["io.archspec.cpu.target"] = target };
            entries.Add((JsonObject)pushed.DeepClone());
            _digests.Add(Digest.Parse((string)pushed["digest"]!));
        }

        await _server.Http.PushAsync(Name, Samples.Index(entries.Select(e => e.DeepClone())), "1");
        return entries;
    }

    private async Task<byte[]> PushLayerAsync()
    {
        var layer = Samples.Bytes(100);
        await _server.Http.PushBlobAsync(Name, layer);
        return layer;
    }

    private static async Task<(int Code, string Out, string Error)> PullAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await CommandLine.RunAsync(["pull", .. arguments], TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }
}
