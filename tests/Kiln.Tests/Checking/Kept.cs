using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Checking;

/// <summary>A registry with something of every kind, and all that a client can see of it.</summary>
internal static class Kept
{
    /// <summary>The one large blob.</summary>
    public static readonly byte[] Layer = Samples.Bytes(300_000);

    /// <summary>Fills a server: images, an index, tags that moved and went, referrers, a mount, another algorithm, deletes.</summary>
    public static async Task FillAsync(HttpClient http)
    {
        await http.PushBlobAsync("a/app", Layer);
        var first = await http.PushAsync("a/app", Image(), "1");
        var second = await http.PushAsync("a/app", Image(), "2");
        await http.PushAsync("a/app", Samples.Index(first.DeepClone(), second.DeepClone()), "all");
        await http.PushAsync("a/app", Image(), "latest");
        await http.PushAsync("a/app", Image(), "latest");
        var signature = await http.PushAsync("a/app", Samples.Referrer((JsonObject)first.DeepClone(), "x/signature"));
        await http.PushAsync("a/app", Samples.Referrer((JsonObject)first.DeepClone(), "x/bill"));
        await http.PushAsync("a/app", Samples.Referrer((JsonObject)signature.DeepClone(), "x/countersignature"));

        var gone = await http.PushAsync("a/app", Image(), "gone");
        Assert.Equal(HttpStatusCode.Accepted, await http.StatusAsync("DELETE", $"a/app/manifests/{gone["digest"]}"));
        await http.PushAsync("a/app", Image(), "untagged");
        Assert.Equal(HttpStatusCode.Accepted, await http.StatusAsync("DELETE", "a/app/manifests/untagged"));
        var unlinked = await http.PushBlobAsync("a/app", Samples.Bytes(100));
        Assert.Equal(HttpStatusCode.Accepted, await http.StatusAsync("DELETE", $"a/app/blobs/{unlinked}"));

        Assert.Equal(
            HttpStatusCode.Created,
            await http.StatusAsync("POST", $"b/blobs/uploads/?mount={Digest.Of(Layer)}&from=a/app")
        );
        await http.PushBlobAsync("b", Samples.EmptyJson);
        var image = Image().Encode();
        using var pushed = await http.PutManifestAsync("b", $"{Digest.Of(image, Digest.Sha512)}?tag=long", image);
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        await http.PushBlobAsync("only/blobs", Samples.Bytes(10));
    }

    private static JsonObject Image() => Samples.Image(Samples.Descriptor(Layer, MediaTypes.OciLayerTar));

    /// <summary>Catalogue, tags, manifests with their types, referrers, blobs: as lines.</summary>
    public static async Task<string> SeenAsync(HttpClient http)
    {
        var names = (await http.GetJsonAsync("_catalog"))["repositories"]!.AsArray().Select(n => (string)n!);
        var seen = new StringBuilder();
        foreach (var name in names.Append("only/blobs"))
        {
            seen.Append(await SeenOfAsync(http, name));
        }

        return seen.ToString();
    }

    /// <summary>As <see cref="SeenAsync"/>, of one repository.</summary>
    public static async Task<string> SeenOfAsync(HttpClient http, string name)
    {
        var seen = new StringBuilder();
        var tags = await http.TagsAsync(name);
        seen.AppendLine($"{name}: {string.Join(' ', tags)}");
        var manifests = new Queue<string>(tags);
        var done = new HashSet<string>();
        while (manifests.TryDequeue(out var reference))
        {
            using var answer = await http.GetAsync($"{name}/manifests/{reference}");
            var text = await answer.Content.ReadAsStringAsync();
            var digest = answer.Header("Docker-Content-Digest");
            seen.AppendLine($"  {reference} {(int)answer.StatusCode} {digest} {answer.Header("Content-Type")} {text}");
            if (answer.StatusCode == HttpStatusCode.OK && done.Add(digest!))
            {
                await FollowAsync(http, name, digest!, JsonNode.Parse(text)!, manifests, seen);
            }
        }

        return seen.ToString();
    }

    /// <summary>Checks what a stopped server keeps.</summary>
    public static async Task<(CheckSummary Summary, List<CheckFinding> Findings)> CheckAsync(
        ServerOptions options,
        bool repair = false,
        bool quick = false
    )
    {
        var findings = new List<CheckFinding>();
        var summary = await StateCheck.RunAsync(
            options,
            new CheckOptions { Repair = repair, Quick = quick },
            findings.Add,
            TestContext.Current.CancellationToken
        );
        Assert.Equal(findings.Count(f => f is { IsNote: false, IsMended: false }), summary.Left);
        return (summary, findings);
    }

    /// <summary>Loses the database of a stopped server, and makes another from the journal and the blobs.</summary>
    public static async Task<(ServerOptions Options, RebuildSummary Summary)> LoseAndRebuildAsync(ServerOptions options)
    {
        foreach (var file in Directory.GetFiles(options.DataDirectory, "kiln.db*"))
        {
            File.Delete(file);
        }

        var fresh = TestState.Fresh(options);
        return (fresh, await StateCheck.RebuildAsync(fresh, TestContext.Current.CancellationToken));
    }

    private static async Task FollowAsync(
        HttpClient http,
        string name,
        string digest,
        JsonNode manifest,
        Queue<string> manifests,
        StringBuilder seen
    )
    {
        foreach (var child in manifest["manifests"]?.AsArray() ?? [])
        {
            manifests.Enqueue((string)child!["digest"]!);
        }

        foreach (var blob in (manifest["layers"]?.AsArray() ?? []).Append(manifest["config"]).Where(b => b is not null))
        {
            using var answer = await http.GetAsync($"{name}/blobs/{blob!["digest"]}");
            var bytes = await answer.Content.ReadAsByteArrayAsync();
            seen.AppendLine($"    {blob["digest"]} {(int)answer.StatusCode} {Digest.Of(bytes)}");
        }

        var referrers = await http.GetJsonAsync($"{name}/referrers/{digest}");
        seen.AppendLine($"    {referrers.ToJsonString()}");
        foreach (var referrer in referrers["manifests"]!.AsArray())
        {
            manifests.Enqueue((string)referrer!["digest"]!);
        }
    }
}
