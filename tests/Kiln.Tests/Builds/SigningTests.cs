using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;

namespace Kiln.Tests.Builds;

/// <summary>Provenance that the registry signs, as Sigstore's tools read it; the real cosign reads it in Kiln.EndToEnd.</summary>
public sealed class SigningTests : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly string _directory = Directory.CreateTempSubdirectory("kiln-signing-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task With_a_key_the_statement_is_attached_signed_as_well()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        await using var server = await BuildServer.StartAsync(o =>
            o with
            {
                SigningKeyFile = Write(key.ExportPkcs8PrivateKeyPem()),
            }
        );
        var output = await BuildAsync(server);

        Assert.Equal(
            [ProvenanceStatement.MediaType, SigstoreBundle.Type],
            output.Provenance!.Select(p => p.ArtifactType)
        );
        var (plain, text) = await AttachedAsync(server, output.Provenance![0]);
        var (info, bytes) = await AttachedAsync(server, output.Provenance![1]);
        Assert.Equal(output.Manifest.Digest, info.Subject!.Digest);
        Assert.Equal(SigstoreBundle.Type, Assert.Single(info.Layers).MediaType);
        Assert.Equal("dsse-envelope", info.Annotations!["dev.sigstore.bundle.content"]);
        Assert.Equal("https://slsa.dev/provenance/v1", info.Annotations["dev.sigstore.bundle.predicateType"]);
        Assert.NotNull(plain.Annotations!["org.opencontainers.image.created"]);

        // By the specifications' words, and not by the code that has written it.
        var bundle = JsonNode.Parse(bytes)!;
        var envelope = bundle["dsseEnvelope"]!;
        var payload = Convert.FromBase64String(envelope["payload"]!.GetValue<string>());
        Assert.Equal(text, payload);
        Assert.Equal("application/vnd.in-toto+json", envelope["payloadType"]!.GetValue<string>());
        byte[] signed =
        [
            .. Encoding.ASCII.GetBytes($"DSSEv1 28 application/vnd.in-toto+json {payload.Length} "),
            .. payload,
        ];
        var signature = Convert.FromBase64String(envelope["signatures"]![0]!["sig"]!.GetValue<string>());
        Assert.True(key.VerifyData(signed, signature, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence));
        Assert.Equal(
            Convert.ToBase64String(SHA256.HashData(key.ExportSubjectPublicKeyInfo())),
            bundle["verificationMaterial"]!["publicKey"]!["hint"]!.GetValue<string>()
        );
    }

    [Fact]
    public async Task Info_tells_the_public_key()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        await using var server = await BuildServer.StartAsync(o =>
            o with
            {
                SigningKeyFile = Write(key.ExportECPrivateKeyPem()),
            }
        );
        var info = JsonSerializer.Deserialize(
            await server.Http.GetByteArrayAsync(new Uri("_build/v1/info", UriKind.Relative)),
            BuildJson.Default.BuildInfo
        )!;
        using var told = ECDsa.Create();
        told.ImportFromPem(info.Provenance!.PublicKey);
        Assert.Equal(key.ExportSubjectPublicKeyInfo(), told.ExportSubjectPublicKeyInfo());
        Assert.Contains(SigstoreBundle.Type, info.Provenance.ArtifactTypes);
    }

    [Fact]
    public async Task Without_a_key_nothing_is_signed_and_info_says_so()
    {
        await using var server = await BuildServer.StartAsync();
        Assert.Single((await BuildAsync(server)).Provenance!);
        var info = JsonSerializer.Deserialize(
            await server.Http.GetByteArrayAsync(new Uri("_build/v1/info", UriKind.Relative)),
            BuildJson.Default.BuildInfo
        )!;
        Assert.Null(info.Provenance!.PublicKey);
        Assert.Equal([ProvenanceStatement.MediaType], info.Provenance.ArtifactTypes);
    }

    [Fact]
    public async Task A_key_that_cannot_be_used_keeps_the_server_from_starting_and_says_what_to_do()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var large = ECDsa.Create(ECCurve.NamedCurves.nistP384);
        using var rsa = RSA.Create(2048);
        var open = Write(key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode(open, OwnerOnly | UnixFileMode.GroupRead);
        var encrypted = key.ExportEncryptedPkcs8PrivateKeyPem(
            "password",
            new PbeParameters(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, 1)
        );
        Assert.Contains("chmod 600", await RefusalAsync(open), StringComparison.Ordinal);
        Assert.Contains("is encrypted", await RefusalAsync(Write(encrypted)), StringComparison.Ordinal);
        Assert.Contains("P-256", await RefusalAsync(Write(large.ExportPkcs8PrivateKeyPem())), StringComparison.Ordinal);
        foreach (
            var text in new[]
            {
                "",
                key.ExportSubjectPublicKeyInfoPem(),
                rsa.ExportPkcs8PrivateKeyPem(),
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            }
        )
        {
            Assert.Contains("openssl", await RefusalAsync(Write(text)), StringComparison.Ordinal);
        }

        Assert.Contains(
            "cannot read the signing key",
            await RefusalAsync(Path.Combine(_directory, "missing")),
            StringComparison.Ordinal
        );
    }

    private static async Task<string> RefusalAsync(string file) =>
        (
            await Assert.ThrowsAsync<ServerStartException>(async () =>
            {
                await using var server = await BuildServer.StartAsync(o => o with { SigningKeyFile = file });
            })
        ).Message;

    private string Write(string pem)
    {
        var file = Path.Combine(_directory, Guid.NewGuid().ToString("n"));
        File.WriteAllText(file, pem);
        File.SetUnixFileMode(file, OwnerOnly);
        return file;
    }

    private static async Task<JobResultOutput> BuildAsync(BuildServer server)
    {
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        return Assert.Single((await server.GetAsync(job.Id)).Result!.Outputs);
    }

    private static async Task<(ManifestInfo Info, byte[] Text)> AttachedAsync(BuildServer server, Descriptor attached)
    {
        var manifest = await server.Http.GetByteArrayAsync(
            new Uri($"{BuildServer.Repository}/manifests/{attached.Digest}", UriKind.Relative)
        );
        var info = ManifestReader.Read(manifest, null, out _)!;
        return (
            info,
            await server.Http.GetByteArrayAsync(
                new Uri($"{BuildServer.Repository}/blobs/{info.Layers[0].Digest}", UriKind.Relative)
            )
        );
    }
}
