using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Cli;
using Kiln.Oci;
using Kiln.Tests.Builds;

namespace Kiln.Tests.Cli;

/// <summary><c>kiln verify</c>: what it follows, and what it does not believe.</summary>
public sealed class VerifyTests : IAsyncLifetime
{
    private readonly string _directory = Directory.CreateTempSubdirectory("kiln-verify-").FullName;
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    private BuildServer _server = null!;

    private string Image => $"{_server.Host}/{BuildServer.Repository}:1.0";

    public async ValueTask InitializeAsync()
    {
        var file = Path.Combine(_directory, "signing.key");
        await File.WriteAllTextAsync(file, _key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _server = await BuildServer.StartAsync(o => o with { SigningKeyFile = file });
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _key.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task An_image_of_this_registry_is_verified_with_its_key_and_without()
    {
        var job = await BuildAsync();

        var (code, text, _) = await VerifyAsync(Image, "--key", Key(_key));
        Assert.Equal((ExitCodes.Ok, true), (code, text.EndsWith("\nverified\n", StringComparison.Ordinal)));
        Assert.Contains(job.Recipe.Digest.ToString(), text, StringComparison.Ordinal);
        Assert.Contains("/v2/_build/v1/node", text, StringComparison.Ordinal);

        (code, text, _) = await VerifyAsync(Image, "--json");
        Assert.Equal(ExitCodes.Ok, code);
        Assert.True(JsonNode.Parse(text)!["verified"]!.GetValue<bool>());
    }

    [Fact]
    public async Task Inspect_names_what_is_attached_and_info_whether_it_is_signed()
    {
        var job = await BuildAsync();
        var output = (await _server.GetAsync(job.Id)).Result!.Outputs[0];

        var shown = (await RunAsync("inspect", $"{_server.Host}/{BuildServer.Repository}", job.Id)).Out;
        Assert.All(
            [.. output.Provenance!, output.Log!],
            attached => Assert.Contains(attached.Digest.ToString(), shown, StringComparison.Ordinal)
        );
        Assert.Contains("yes, signed", (await RunAsync("info", _server.Host)).Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_key_verifies_nothing()
    {
        await BuildAsync();
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);

        var (code, text, _) = await VerifyAsync(Image, "--key", Key(other));
        Assert.Equal(
            (ExitCodes.NotVerified, true),
            (code, text.EndsWith("\nNOT verified\n", StringComparison.Ordinal))
        );
        Assert.Contains("none of 2 statements is signed by a key that was given", text, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Ok, (await VerifyAsync(Image, "--key", Key(other), "--key", Key(_key))).Code);
    }

    [Fact]
    public async Task Only_a_builder_that_is_named_counts()
    {
        var job = await BuildAsync();
        var output = (await _server.GetAsync(job.Id)).Result!.Outputs[0];
        var statement = ProvenanceStatement.Read(
            (await AttachedAsync(output.Provenance![1])).DsseEnvelope.Payload,
            out _
        )!;
        var builder = statement.Predicate.RunDetails.Builder.Id;

        Assert.Equal(ExitCodes.Ok, (await VerifyAsync(Image, "--key", Key(_key), "--builder", builder)).Code);
        var (code, text, _) = await VerifyAsync(Image, "--key", Key(_key), "--builder", builder + "s/mallory");

        Assert.Equal(ExitCodes.NotVerified, code);
        Assert.Contains($"it was built by {builder}, and no --builder names that", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_somebody_attached_that_is_no_statement_keeps_nobody_from_verifying()
    {
        var job = await BuildAsync();
        var output = (await _server.GetAsync(job.Id)).Result!.Outputs[0];
        var bundle = JsonNode.Parse((await AttachedAsync(output.Provenance![1])).ToBytes())!;
        bundle["dsseEnvelope"]!["signatures"] = new JsonArray((JsonNode?)null);
        await AttachAsync(output.Manifest, SigstoreBundle.Type, Encoding.UTF8.GetBytes(bundle.ToJsonString()));
        bundle["dsseEnvelope"]!["signatures"] = new JsonArray();
        bundle["dsseEnvelope"]!["payloadType"] = "text/plain";
        await AttachAsync(output.Manifest, SigstoreBundle.Type, Encoding.UTF8.GetBytes(bundle.ToJsonString()));
        var statement = JsonNode.Parse((await AttachedAsync(output.Provenance![1])).DsseEnvelope.Payload)!;
        statement["subject"] = new JsonArray((JsonNode?)null);
        await AttachAsync(
            output.Manifest,
            ProvenanceStatement.MediaType,
            Encoding.UTF8.GetBytes(statement.ToJsonString())
        );

        Assert.Equal(ExitCodes.Ok, (await VerifyAsync(Image, "--key", Key(_key))).Code);
        Assert.Equal(ExitCodes.Ok, (await VerifyAsync(Image)).Code);
    }

    [Fact]
    public async Task What_somebody_attached_and_cannot_be_had_keeps_nobody_from_verifying()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("it looks into the data directory");
        var job = await BuildAsync();
        var output = (await _server.GetAsync(job.Id)).Result!.Outputs[0];
        var text = "no statement"u8.ToArray();
        await AttachAsync(output.Manifest, ProvenanceStatement.MediaType, text);
        File.Delete(
            Directory
                .EnumerateFiles(_server.DataDirectory, Digest.Of(text).Encoded, SearchOption.AllDirectories)
                .Single()
        );

        Assert.Equal(ExitCodes.Ok, (await VerifyAsync(Image, "--key", Key(_key))).Code);
    }

    [Fact]
    public async Task A_statement_that_somebody_has_changed_is_not_believed()
    {
        var job = await BuildAsync();
        var output = (await _server.GetAsync(job.Id)).Result!.Outputs[0];
        var bundle = await AttachedAsync(output.Provenance![1]);
        var text = Encoding.UTF8.GetString(bundle.DsseEnvelope.Payload);
        var forged = bundle with
        {
            DsseEnvelope = bundle.DsseEnvelope with
            {
                Payload = Encoding.UTF8.GetBytes(
                    text.Replace("/_build/v1/node\"", "/_build/v1/nodes/mallory\"", StringComparison.Ordinal)
                        .Replace("\"finishedOn\":\"2", "\"finishedOn\":\"9", StringComparison.Ordinal)
                ),
            },
        };
        Assert.NotEqual(bundle.DsseEnvelope.Payload, forged.DsseEnvelope.Payload);
        await AttachAsync(output.Manifest, SigstoreBundle.Type, forged.ToBytes());
        await AttachAsync(output.Manifest, ProvenanceStatement.MediaType, forged.DsseEnvelope.Payload);

        var (code, said, _) = await VerifyAsync(Image, "--key", Key(_key));
        Assert.Equal(ExitCodes.Ok, code);
        Assert.DoesNotContain("mallory", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_was_signed_for_another_image_says_nothing_of_this_one()
    {
        var job = await BuildAsync();
        var output = (await _server.GetAsync(job.Id)).Result!.Outputs[0];
        var bundle = await AttachedAsync(output.Provenance![1]);
        var (other, _) = await PushAsync(new ImageManifest { Config = await EmptyAsync(), Layers = [] });
        await AttachAsync(other, SigstoreBundle.Type, bundle.ToBytes());

        var (code, said, _) = await VerifyAsync(
            $"{_server.Host}/{BuildServer.Repository}@{other.Digest}",
            "--key",
            Key(_key)
        );
        Assert.Equal(ExitCodes.NotVerified, code);
        Assert.Contains("its subject has another digest", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_image_without_provenance_is_told_as_that()
    {
        var (image, _) = await PushAsync(new ImageManifest { Config = await EmptyAsync(), Layers = [] });
        var (code, said, _) = await VerifyAsync($"{_server.Host}/{BuildServer.Repository}@{image.Digest}");
        Assert.Equal(ExitCodes.NotVerified, code);
        Assert.Contains("nothing attached to the image says how it was made", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_recipe_that_is_gone_is_missed()
    {
        var job = await BuildAsync();
        using var deleted = await _server.Http.DeleteAsync(
            new Uri($"{BuildServer.Repository}/manifests/{job.Recipe.Digest}", UriKind.Relative)
        );
        Assert.Equal(HttpStatusCode.Accepted, deleted.StatusCode);

        var (code, said, _) = await VerifyAsync(Image, "--key", Key(_key));
        Assert.Equal(ExitCodes.NotVerified, code);
        Assert.Contains($"{job.Recipe.Digest} is not there", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rebuild_asks_for_the_same_build_delivered_nowhere_and_tells_what_differs()
    {
        var job = await BuildAsync("?tag=1.0&arg.A=b&label.c=d&sourcedate=1700000000&network=none");
        var verifying = VerifyAsync(Image, "--rebuild");
        Lease? lease;
        while ((lease = await _server.Node.TryClaimAsync(wait: TimeSpan.FromSeconds(1))) is null)
        {
            Assert.False(verifying.IsCompleted, verifying.IsCompleted ? (await verifying).Out : "");
        }

        var task = lease.Task;
        Assert.Equal(("b", "d", 1700000000L), (task.Args["A"], task.Labels["c"], task.SourceDateEpoch));
        Assert.Equal(("none", false), (task.Network, task.UseStepCache));
        await _server.Node.SucceedAsync(lease, "something else");
        var (code, said, _) = await verifying;

        Assert.Equal(ExitCodes.NotVerified, code);
        Assert.Contains("layer 1: ", said, StringComparison.Ordinal);
        Assert.Contains("config.author: \"hello\", now \"something else\"", said, StringComparison.Ordinal);
        var jobs = await _server.JobsAsync();
        Assert.Equal((2, 0), (jobs.Count, jobs[0].Tags.Count));
        Assert.Equal(
            (await _server.GetAsync(job.Id)).Result!.Outputs[0].Manifest.Digest,
            (await _server.TagAsync("1.0"))!.Manifests[0].Digest
        );
    }

    [Fact]
    public async Task A_key_that_is_none_is_refused()
    {
        var file = Path.Combine(_directory, "no.key");
        await File.WriteAllTextAsync(file, "no key", TestContext.Current.CancellationToken);
        var (code, _, error) = await VerifyAsync(Image, "--key", file);
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("no public key of ECDSA in PEM", error, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, (await VerifyAsync(Image, "--key", "/nonexistent/key")).Code);
    }

    private async Task<Job> BuildAsync(string query = "?tag=1.0")
    {
        var job = await _server.SubmitAsync(query);
        await _server.Node.SucceedAsync(await _server.Node.ClaimAsync());
        return job;
    }

    private string Key(ECDsa key)
    {
        var file = Path.Combine(_directory, Guid.NewGuid().ToString("n"));
        File.WriteAllText(file, key.ExportSubjectPublicKeyInfoPem());
        return file;
    }

    private static Task<(int Code, string Out, string Error)> VerifyAsync(params string[] arguments) =>
        RunAsync(["verify", .. arguments]);

    private static async Task<(int Code, string Out, string Error)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await CommandLine.RunAsync(arguments, TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }

    private async Task<SigstoreBundle> AttachedAsync(Descriptor attached)
    {
        var manifest = ManifestReader.Read(
            await _server.Http.GetByteArrayAsync(
                new Uri($"{BuildServer.Repository}/manifests/{attached.Digest}", UriKind.Relative)
            ),
            null,
            out _
        )!;
        var text = await _server.Http.GetByteArrayAsync(
            new Uri($"{BuildServer.Repository}/blobs/{manifest.Layers[0].Digest}", UriKind.Relative)
        );
        return SigstoreBundle.Read(text, out _)!;
    }

    private async Task AttachAsync(Descriptor subject, string type, byte[] text) =>
        await PushAsync(
            new ImageManifest
            {
                ArtifactType = type,
                Config = await EmptyAsync(),
                Layers = [await _server.PushBlobAsync(text, type)],
                Subject = subject,
            }
        );

    private Task<Descriptor> EmptyAsync() => _server.PushBlobAsync("{}"u8.ToArray(), MediaTypes.OciEmpty);

    private async Task<(Descriptor Descriptor, byte[] Content)> PushAsync(ImageManifest manifest)
    {
        var content = JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest);
        var digest = Digest.Of(content);
        using var body = new ByteArrayContent(content);
        body.Headers.ContentType = MediaTypeHeaderValue.Parse(MediaTypes.OciManifest);
        using var response = await _server.Http.PutAsync(
            new Uri($"{BuildServer.Repository}/manifests/{digest}", UriKind.Relative),
            body
        );
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return (
            new Descriptor
            {
                MediaType = MediaTypes.OciManifest,
                Digest = digest,
                Size = content.Length,
            },
            content
        );
    }
}
