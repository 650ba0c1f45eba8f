using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The power goes while many push; the database is lost: what was acknowledged is there.</summary>
public sealed class RecoveryTests(Machine machine, Server server) : IClassFixture<Server>
{
    private const int Clients = 8;
    private const string Manifest = "application/vnd.oci.image.manifest.v1+json";
    private static readonly byte[] Empty = "{}"u8.ToArray();

    [Fact]
    public async Task Tags_and_referrers_acknowledged_before_a_kill_are_listed_after_it_and_after_a_rebuild()
    {
        var repository = $"crash/many-{Guid.NewGuid():N}";
        await PushEmptyBlobAsync(repository);
        var subject = Image("subject", subject: null);
        Assert.True(await PutAsync(repository, Digest(subject), subject));
        var tags = new ConcurrentDictionary<string, string>();
        var referrers = new ConcurrentDictionary<string, bool>();
        for (var round = 0; round < 4; round++)
        {
            var clients = Enumerable
                .Range(0, Clients)
                .Select(i => PushAsync(repository, $"{round}-{i}", subject, tags, referrers))
                .ToList();
            await Task.Delay(Random.Shared.Next(500, 1500));
            await server.KillAsync();
            await Task.WhenAll(clients);
            await server.StartAsync();
            await AreListedAsync(repository, subject, tags, referrers);
        }

        Assert.True(tags.Count > 50 && referrers.Count > 50, $"{tags.Count} tags, {referrers.Count} referrers");
        await server.StopAsync();
        machine.RunKiln("fsck", "--data", server.DataDirectory).Ok();
        foreach (var end in new[] { "", "-wal", "-shm" })
        {
            machine.RunAsUser("rm", "-f", Path.Combine(server.DataDirectory, "kiln.db" + end)).Ok();
        }

        machine.RunKiln("fsck", "--rebuild", "--data", server.DataDirectory).Ok();
        await server.StartAsync();
        await AreListedAsync(repository, subject, tags, referrers);
    }

    private async Task PushAsync(
        string repository,
        string client,
        byte[] subject,
        ConcurrentDictionary<string, string> tags,
        ConcurrentDictionary<string, bool> referrers
    )
    {
        try
        {
            for (var n = 0; n < 10_000; n++)
            {
                var image = Image($"{client}-{n}", subject: null);
                if (await PutAsync(repository, $"t-{client}-{n}", image))
                {
                    tags[$"t-{client}-{n}"] = Digest(image);
                }

                // One tag that all of them move.
                await PutAsync(repository, "moving", image);
                var referrer = Image($"r-{client}-{n}", subject);
                if (await PutAsync(repository, Digest(referrer), referrer))
                {
                    referrers[Digest(referrer)] = true;
                }
            }
        }
        catch (HttpRequestException)
        {
            // The server is gone.
        }
    }

    private async Task AreListedAsync(
        string repository,
        byte[] subject,
        ConcurrentDictionary<string, string> tags,
        ConcurrentDictionary<string, bool> referrers
    )
    {
        var listed = new HashSet<string>(StringComparer.Ordinal);
        for (string? last = ""; last is not null; )
        {
            var page = JsonNode.Parse(
                await server.Http.GetStringAsync($"/v2/{repository}/tags/list?n=1000&last={last}")
            )!["tags"]!.AsArray();
            listed.UnionWith(page.Select(t => t!.GetValue<string>()));
            last = page.Count > 0 ? page[^1]!.GetValue<string>() : null;
        }

        Assert.Empty(tags.Keys.Except(listed));
        foreach (var (tag, digest) in tags.Take(50))
        {
            var bytes = await server.Http.GetByteArrayAsync($"/v2/{repository}/manifests/{tag}");
            Assert.Equal(digest, Digest(bytes));
        }

        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (string? next = $"/v2/{repository}/referrers/{Digest(subject)}"; next is not null; )
        {
            using var answer = await server.Http.GetAsync(next);
            var index = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;
            seen.UnionWith(index["manifests"]!.AsArray().Select(m => m!["digest"]!.GetValue<string>()));
            next = answer.Headers.TryGetValues("Link", out var links) ? links.First().Split('<', '>')[1] : null;
        }

        Assert.Empty(referrers.Keys.Except(seen));
    }

    private async Task PushEmptyBlobAsync(string repository)
    {
        using var answer = await server.Http.PostAsync(
            $"/v2/{repository}/blobs/uploads/?digest={Digest(Empty)}",
            Body(Empty, "application/octet-stream")
        );
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
    }

    private async Task<bool> PutAsync(string repository, string reference, byte[] manifest)
    {
        using var answer = await server.Http.PutAsync(
            $"/v2/{repository}/manifests/{reference}",
            Body(manifest, Manifest)
        );
        return answer.StatusCode == HttpStatusCode.Created;
    }

    private static ByteArrayContent Body(byte[] bytes, string type) =>
        new(bytes) { Headers = { ContentType = new MediaTypeHeaderValue(type) } };

    private static byte[] Image(string name, byte[]? subject)
    {
        JsonObject Described(byte[] bytes, string type) =>
            new()
            {
                ["mediaType"] = type,
                ["digest"] = Digest(bytes),
                ["size"] = bytes.Length,
            };

        var manifest = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = Manifest,
            ["artifactType"] = "x/y",
            ["config"] = Described(Empty, "application/vnd.oci.empty.v1+json"),
            ["layers"] = new JsonArray(Described(Empty, "application/vnd.oci.empty.v1+json")),
            ["annotations"] = new JsonObject { ["name"] = name },
        };
        if (subject is not null)
        {
            manifest["subject"] = Described(subject, Manifest);
        }

        return Encoding.UTF8.GetBytes(manifest.ToJsonString());
    }

    private static string Digest(byte[] bytes) => $"sha256:{Convert.ToHexStringLower(SHA256.HashData(bytes))}";
}
