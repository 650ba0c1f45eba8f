using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A server that signs how its images were made.</summary>
public sealed class SigningServer : Server
{
    private readonly string _key;

    public SigningServer(Machine machine)
        : base(machine)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var name = Guid.NewGuid().ToString("n");
        _key = machine.WriteFile(key.ExportPkcs8PrivateKeyPem() + "\n", "keys", $"{name}.key");
        machine.RunAsUser("chmod", "600", _key).Ok();
        PublicKey = machine.WriteFile(key.ExportSubjectPublicKeyInfoPem() + "\n", "keys", $"{name}.pub");
        OtherKey = machine.WriteFile(other.ExportSubjectPublicKeyInfoPem() + "\n", "keys", $"{name}.other.pub");
    }

    public string PublicKey { get; }
    public string OtherKey { get; }
    protected override IReadOnlyList<string> Options => ["--signing-key-file", _key];
}

/// <summary>How an image was made can be told from it, by others' tools too, and it can be made again.</summary>
public sealed class ProvenanceTests(Machine machine, SigningServer server) : IClassFixture<SigningServer>
{
    [Fact]
    public async Task The_real_cosign_verifies_what_the_registry_has_signed_and_not_with_another_key()
    {
        machine.Needs("cosign");
        var job = await Builds.BuildOkAsync(server, "signed/app", "tag=1.0", $"FROM {Base()}\nRUN echo signed >/it\n");
        var image = $"{server.Host}/signed/app@{Manifest(job)}";

        var verified = Cosign(image, server.PublicKey).Ok();
        var payload = JsonNode.Parse(verified.Output.Split('\n')[0])!["payload"]!.GetValue<string>();
        var statement = JsonNode.Parse(Convert.FromBase64String(payload))!;
        Assert.Equal("https://slsa.dev/provenance/v1", Builds.Text(statement, "predicateType"));
        Assert.NotEqual(0, Cosign(image, server.OtherKey).ExitCode);
    }

    [Fact]
    public async Task Verify_follows_an_image_to_its_recipe_and_refuses_another_key()
    {
        await Builds.BuildOkAsync(server, "signed/verify", "tag=1.0", $"FROM {Base()}\nRUN echo hello >/it\n");
        var image = $"{server.Host}/signed/verify:1.0";

        var verified = machine.RunKiln("verify", image, "--key", server.PublicKey).Ok().Output;
        Assert.Contains($"http://{server.Host}/v2/_build/v1/node", verified, StringComparison.Ordinal);
        Assert.EndsWith("verified\n", verified, StringComparison.Ordinal);
        Assert.Contains(
            "signed by a key",
            machine.RunKiln("verify", image, "--key", server.OtherKey).Exits(1).Output,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_build_with_a_source_date_and_pinned_bases_gives_the_same_digest_twice_and_rebuild_says_so()
    {
        var moving = Base();
        var recipe =
            $"FROM {moving} AS made\nARG WHO=nobody\nRUN mkdir -p /opt/d && echo \"$WHO\" >/opt/d/who && ln -s who /opt/d/link && touch /opt/z /opt/a\n"
            + $"FROM {moving}\nCOPY --from=made /opt /opt\nRUN echo more >>/opt/d/who\nENV A=b\nCMD [\"cat\", \"/opt/d/who\"]\n";
        const string Query = "tag=1.0&sourcedate=1700000000&cache=none&arg.WHO=world&label.team=hpc";
        var first = await Builds.BuildOkAsync(server, "signed/twice", Query, recipe);
        // Times of files, of history and of the config would differ now, if they came from the clock.
        await Task.Delay(TimeSpan.FromMilliseconds(1100));
        var second = await Builds.BuildOkAsync(server, "signed/twice", Query, recipe);
        Assert.NotEqual(first["tasks"]![0]!["execution"]!.ToString(), second["tasks"]![0]!["execution"]!.ToString());
        await AssertSameAsync("signed/twice", Manifest(first), Manifest(second));

        // The base's tag moves; what is built again stands on the one that it stood on.
        BaseImages.Push(machine, server, Other(), moving[(server.Host.Length + 1)..]);
        var rebuilt = machine.RunKiln(
            "verify",
            $"{server.Host}/signed/twice@{Manifest(first)}",
            "--key",
            server.PublicKey,
            "--rebuild"
        );
        Assert.Contains("the same digest", rebuilt.Ok().Output, StringComparison.Ordinal);
        Assert.Equal(
            Manifest(second),
            JsonNode.Parse(await server.Http.GetStringAsync("/v2/signed/twice/manifests/1.0"))!["manifests"]![0]![
                "digest"
            ]!.GetValue<string>()
        );
    }

    [Fact]
    public async Task Rebuild_says_what_differs()
    {
        var job = await Builds.BuildOkAsync(
            server,
            "signed/differs",
            "tag=1.0&sourcedate=1700000000",
            $"FROM {Base()}\nRUN cat /proc/sys/kernel/random/uuid >/id\n"
        );

        var said = machine
            .RunKiln("verify", $"{server.Host}/signed/differs@{Manifest(job)}", "--rebuild", "--json")
            .Exits(1);
        var findings = JsonNode.Parse(said.Output)!["images"]![0]!["findings"]!.AsArray();
        Assert.Contains(findings, f => Is(f!, "provenance", true));
        Assert.Contains(findings, f => Is(f!, "recipe", true));
        Assert.Contains(findings, f => Is(f!, "rebuild", false));
        Assert.Contains(findings, f => Is(f!, "differs", false) && Says(f!, "layer 2"));
        Assert.Contains(findings, f => Is(f!, "differs", false) && Says(f!, "config.rootfs.diff_ids[1]"));
        Assert.DoesNotContain(findings, f => Says(f!, "config.created") || Says(f!, "config.history"));
    }

    private static bool Is(JsonNode finding, string about, bool holds) =>
        Builds.Text(finding, "about") == about && finding["holds"]!.GetValue<bool>() == holds;

    private static bool Says(JsonNode finding, string text) =>
        Builds.Text(finding, "text")!.Contains(text, StringComparison.Ordinal);

    private Outcome Cosign(string image, string key) =>
        machine.RunAsUser(
            "cosign",
            "verify-attestation",
            "--key",
            key,
            "--type",
            "slsaprovenance1",
            "--new-bundle-format",
            // Nothing of the public Sigstore has a part in it, so that cosign need not ask there either.
            "--trusted-root",
            machine.WriteFile(
                """{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}""",
                "keys",
                "trusted-root.json"
            ),
            "--insecure-ignore-tlog",
            "--allow-http-registry",
            image
        );

    // Says what differs, where it does.
    private async Task AssertSameAsync(string repository, string first, string second)
    {
        if (first != second)
        {
            var texts = new List<string>();
            foreach (var digest in new[] { first, second })
            {
                var manifest = await server.Http.GetStringAsync($"/v2/{repository}/manifests/{digest}");
                var config = JsonNode.Parse(manifest)!["config"]!["digest"]!.GetValue<string>();
                texts.Add(manifest + "\n" + await server.Http.GetStringAsync($"/v2/{repository}/blobs/{config}"));
            }

            Assert.Fail(string.Join("\n---\n", texts));
        }
    }

    private static string Manifest(JsonNode job) =>
        job["result"]!["outputs"]![0]!["manifest"]!["digest"]!.GetValue<string>();

    private string Base() =>
        BaseImages.Push(machine, server, BaseImages.Busybox(machine), $"base/busybox:{Guid.NewGuid():N}");

    private string Other()
    {
        machine
            .RunAsUser(
                "bash",
                "-euc",
                """
                . eng/base-image.sh
                mkdir -p images/other && echo other >images/other/file
                tar -C images/other -cf images/other.tar file
                oci_layout_from_tar images/other.tar images/otherbase '["sh"]'
                """
            )
            .Ok();
        return machine.In("images/otherbase");
    }
}
