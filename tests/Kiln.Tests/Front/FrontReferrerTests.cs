using System.Net;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Tests.Registry;
using Kiln.Tests.Registry.Upstreams;

namespace Kiln.Tests.Front;

/// <summary>The referrers API in front of a registry that has none.</summary>
public sealed class FrontReferrerTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_registry_without_referrers_has_them_through_the_front()
    {
        using var registry = ThroughServer.RequireRegistry();
        using var behind = ThroughServer.ClientOf(registry.Host);
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        var name = Samples.Repository();
        await front.Http.PushBlobAsync(name, Samples.EmptyJson);
        var subject = await front.Http.PushAsync(
            name,
            Samples.Image(Samples.Descriptor(Samples.EmptyJson, MediaTypes.OciEmpty)),
            "1.0"
        );
        Assert.Empty(await ReferrersAsync(front.Http, name, subject));
        var referrers = new List<JsonObject>();
        foreach (var type in new[] { "application/x.a", "application/x.b" })
        {
            var manifest = Samples.Referrer(subject.DeepClone().AsObject(), type);
            var digest = Digest.Of(manifest.Encode());
            using var pushed = await front.Http.PutManifestAsync(name, digest.ToString(), manifest.Encode());
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
            Assert.Equal(subject["digest"]!.ToString(), pushed.Header("OCI-Subject"));
            referrers.Add(manifest);
        }

        Assert.Equal(2, (await ReferrersAsync(front.Http, name, subject)).Count);
        var one = Assert.Single(await ReferrersAsync(front.Http, name, subject, "?artifactType=application/x.b"));
        Assert.Equal("application/x.b", one["artifactType"]!.ToString());
        // Who speaks to the registry behind finds them as clients of such registries do.
        var tag = subject["digest"]!.ToString().Replace(':', '-');
        using (
            var listed = await behind.SendAsync(
                "GET",
                $"{name}/manifests/{tag}",
                headers: [("Accept", MediaTypes.OciIndex)]
            )
        )
        {
            Assert.Equal(HttpStatusCode.OK, listed.StatusCode);
        }

        using var deleted = await front.Http.SendAsync(
            "DELETE",
            $"{name}/manifests/{Digest.Of(referrers[0].Encode())}"
        );
        Assert.Equal(HttpStatusCode.Accepted, deleted.StatusCode);
        Assert.Equal(
            "application/x.b",
            Assert.Single(await ReferrersAsync(front.Http, name, subject))["artifactType"]!.ToString()
        );
    }

    private static async Task<IReadOnlyList<JsonNode>> ReferrersAsync(
        HttpClient http,
        string name,
        JsonObject subject,
        string query = ""
    ) => [.. (await http.GetJsonAsync($"{name}/referrers/{subject["digest"]}{query}"))["manifests"]!.AsArray()!];
}
