using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A registry that builds by itself, and wants no emulation.</summary>
public sealed class NativeServer(Machine machine) : Server(machine)
{
    protected override IReadOnlyList<string> Options => ["--emulation", "denied"];
}

/// <summary>
/// One request for several platforms, built for real by an ordinary user's node: what is foreign to the machine under qemu.
/// </summary>
public sealed class ArchitectureTests(Machine machine, NodelessServer server, NativeServer native)
    : IClassFixture<NodelessServer>,
        IClassFixture<NativeServer>
{
    private const string Index = "application/vnd.oci.image.index.v1+json";

    [Fact]
    public async Task Three_platforms_are_one_index_with_the_generic_images_first_and_what_was_emulated_marked()
    {
        var platform = Probe();
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        var recipe = machine.WriteFile(
            $"""
            FROM {await BaseAsync()}
            ARG TARGETPLATFORM
            ARG TARGETARCH
            ARG TARGETVARIANT
            ARG TARGETMICROARCHITECTURE
            RUN uname -m >/machine; echo "$TARGETPLATFORM $TARGETARCH $TARGETVARIANT $TARGETMICROARCHITECTURE" >/target
            RUN cat /machine /target | grep -q "$TARGETPLATFORM"

            """,
            "architectures",
            "Containerfile"
        );
        var image = $"{server.Host}/arch/app:1";

        machine
            .RunKiln([
                "build",
                "-t",
                image,
                "--platform",
                "linux/amd64/v3,linux/arm64,linux/amd64",
                Path.GetDirectoryName(recipe)!,
            ])
            .Ok();

        var entries = JsonNode.Parse(await ManifestAsync("arch/app", "1"))!["manifests"]!.AsArray();
        Assert.Equal(
            ["arm64  aarch64 true", "amd64  x86_64 ", "amd64 v3 x86_64_v3 "],
            entries.Select(e =>
                $"{e!["platform"]!["architecture"]} {e["platform"]!["variant"]} "
                + $"{e["annotations"]!["io.archspec.cpu.target"]} {e["annotations"]!["org.supercontainers.emulated"]}"
            )
        );
        string[] digests = [.. entries.Select(e => (string)e!["digest"]!)];
        Assert.Equal("aarch64\nlinux/arm64 arm64  \n", await MadeAsync(digests[0]));
        Assert.Equal("x86_64\nlinux/amd64 amd64  \n", await MadeAsync(digests[1]));
        Assert.Equal("x86_64\nlinux/amd64/v3 amd64 v3 x86_64_v3\n", await MadeAsync(digests[2]));
        await IsToldAsync(digests[0]);

        // The best for this machine; another tool takes it by its digest.
        var best = machine.RunKiln("pull", "--for-this-node", "--print", image).Ok();
        Assert.Equal($"{server.Host}/arch/app@{digests[2]}\n", best.Output);
        Assert.Contains($"this is {platform}", best.Error, StringComparison.Ordinal);
        machine.RunKiln("pull", "--platform", "linux/arm64", image, machine.In("architectures", "arm64.tar")).Ok();
        machine
            .RunAsUser("skopeo", "inspect", "--raw", $"oci-archive:{machine.In("architectures", "arm64.tar")}:1")
            .Ok();
    }

    [Fact]
    public async Task Stages_of_the_machine_itself_run_natively_in_a_build_for_another()
    {
        Probe();
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        var image = await BaseAsync();
        var job = await Builds.BuildOkAsync(
            server,
            "arch/cross",
            "tag=1&platform=linux/arm64",
            $"""
            FROM --platform=$BUILDPLATFORM {image} AS native
            RUN uname -m >/built-on
            FROM {image} AS foreign
            RUN uname -m >/runs-on
            FROM scratch
            COPY --from=native /built-on /
            COPY --from=foreign /runs-on /

            """
        );
        var root = Builds.Unpack(machine, $"{server.Host}/arch/cross@{Digest(job)}");
        Assert.Equal("x86_64\n", await File.ReadAllTextAsync(Path.Combine(root, "built-on")));
        Assert.Equal("aarch64\n", await File.ReadAllTextAsync(Path.Combine(root, "runs-on")));

        // Who wants no emulation is refused, and not answered by what was emulated.
        using var refused = await Builds.PostRecipeAsync(
            server,
            "arch/cross",
            "platform=linux/arm64&emulation=denied",
            $"FROM {image}\n"
        );
        Assert.Equal(HttpStatusCode.UnprocessableEntity, refused.StatusCode);
        Assert.Contains("by emulation only", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        var info = machine.RunKiln("info", server.Host).Ok().Output;
        Assert.Matches("by emulation only +linux/arm64\n", info);
    }

    // By their own tags the images of the index are no index.
    [Theory]
    [InlineData("amd64", "linux/arm64")]
    [InlineData("arm64", "linux/amd64")]
    public async Task Base_for_another_platform_is_the_recipes_error_at_once(string architecture, string platform)
    {
        Probe();
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        await BaseAsync();

        var job = await Builds.BuildAsync(
            server,
            "arch/wrong",
            $"platform={platform}",
            $"FROM {server.Host}/library/multi:{architecture}\nRUN true\n"
        );

        Assert.Equal("recipe-error", Builds.Text(job, "reason"));
        Assert.Contains($"is for linux/{architecture}, not {platform}", Builds.Text(job, "message"));
        Assert.DoesNotContain("# attempt 2", await Builds.LogAsync(server, job), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Registry_that_denies_emulation_says_so()
    {
        using var refused = await Builds.PostRecipeAsync(
            native,
            "a",
            "platform=linux/arm64",
            "FROM scratch\nCOPY x /\n"
        );
        var said = await refused.Content.ReadAsStringAsync();
        Assert.True(refused.StatusCode == HttpStatusCode.UnprocessableEntity, said);
        Assert.Contains("emulation is not allowed here", said, StringComparison.Ordinal);
    }

    // The platform of this machine.
    private string Probe()
    {
        machine.Needs("qemu-aarch64-static");
        var report = JsonNode.Parse(machine.RunKiln("node", "--probe", "--json").Ok().Output)!;
        var facts = report["machine"]!;
        if (!facts["limits"]!["emulatorsInUserNamespaces"]!.GetValue<bool>())
            Assert.Skip(
                $"NOT RUN: Linux {facts["kernel"]} has no emulators in user namespaces; 6.7 or later is needed"
            );
        var platform = (string)facts["platform"]!;
        if (platform is not ("linux/amd64/v3" or "linux/amd64/v4"))
            Assert.Skip($"NOT RUN: this machine is {platform}, and the test builds for linux/amd64/v3");
        Assert.Equal(["linux/arm64"], report["offer"]!["emulatedPlatforms"]!.AsArray().Select(p => (string)p!));
        return platform;
    }

    // An index with a busybox for either family.
    private async Task<string> BaseAsync()
    {
        const string name = "library/multi";
        var manifests = new JsonArray();
        foreach (
            var (architecture, layout) in new[]
            {
                ("amd64", BaseImages.Busybox(machine)),
                ("arm64", BaseImages.BusyboxArm64(machine)),
            }
        )
        {
            BaseImages.Push(machine, server, layout, $"{name}:{architecture}");
            using var head = await server.Http.SendAsync(
                new HttpRequestMessage(HttpMethod.Head, $"/v2/{name}/manifests/{architecture}")
                {
                    Headers = { { "Accept", "application/vnd.oci.image.manifest.v1+json" } },
                }
            );
            manifests.Add(
                new JsonObject
                {
                    ["mediaType"] = "application/vnd.oci.image.manifest.v1+json",
                    ["digest"] = head.Headers.GetValues("Docker-Content-Digest").First(),
                    ["size"] = head.Content.Headers.ContentLength,
                    ["platform"] = new JsonObject { ["os"] = "linux", ["architecture"] = architecture },
                }
            );
        }

        var index = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = Index,
            ["manifests"] = manifests,
        };
        using var put = await server.Http.PutAsync(
            $"/v2/{name}/manifests/1",
            new StringContent(index.ToJsonString(), Encoding.UTF8, new MediaTypeHeaderValue(Index))
        );
        Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        return $"{server.Host}/{name}:1";
    }

    private async Task<string> ManifestAsync(string name, string reference)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v2/{name}/manifests/{reference}");
        request.Headers.Add("Accept", $"{Index}, application/vnd.oci.image.manifest.v1+json");
        using var answer = await server.Http.SendAsync(request);
        return await answer.Content.ReadAsStringAsync();
    }

    private async Task<string> MadeAsync(string digest)
    {
        var root = Builds.Unpack(machine, $"{server.Host}/arch/app@{digest}");
        return await File.ReadAllTextAsync(Path.Combine(root, "machine"))
            + await File.ReadAllTextAsync(Path.Combine(root, "target"));
    }

    // What was emulated stands in the job, in its hints, and in the statement of how it was made.
    private async Task IsToldAsync(string digest)
    {
        var jobs = JsonNode.Parse(await server.Http.GetStringAsync("/v2/arch/app/_build/v1/jobs"))!;
        var task = jobs["jobs"]![0]!["tasks"]!.AsArray().Single(t => (string)t!["platform"]! == "linux/arm64")!;
        Assert.True(task["emulated"]!.GetValue<bool>());
        Assert.StartsWith("qemu-aarch64 ", (string)task["confinement"]!["emulation"]!, StringComparison.Ordinal);
        Assert.Equal("aarch64", (string)task["hints"]!["cpuTarget"]!);

        var config = JsonNode.Parse(await ManifestAsync("arch/app", digest))!["config"]!["digest"];
        var said = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/arch/app/blobs/{config}"))!;
        Assert.Equal("arm64", (string)said["architecture"]!);

        var referrers = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/arch/app/referrers/{digest}"))!;
        var statement = referrers["manifests"]!
            .AsArray()
            .Single(m => (string)m!["artifactType"]! == "application/vnd.in-toto+json")!;
        var layer = JsonNode.Parse(await ManifestAsync("arch/app", (string)statement["digest"]!))!["layers"]![0]![
            "digest"
        ];
        var provenance = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/arch/app/blobs/{layer}"))!;
        Assert.True(provenance["predicate"]!["buildDefinition"]!["internalParameters"]!["emulated"]!.GetValue<bool>());
    }

    private static string Digest(JsonNode job) => (string)job["result"]!["outputs"]![0]!["manifest"]!["digest"]!;
}
