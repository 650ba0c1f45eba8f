using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Server.Audit;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Access;

/// <summary>What is written down about changes and refusals.</summary>
public sealed class AuditTests
{
    [Fact]
    public async Task Each_change_is_one_line_with_who_what_and_where()
    {
        await using var server = await AccessServer.StartAsync();
        server.Http.DefaultRequestHeaders.Add("Authorization", AccessServer.Basic("root"));
        var blob = await server.Http.PushBlobAsync("team/app", "content"u8.ToArray());
        var manifest = await server.Http.PushAsync("team/app", Samples.Index(), "1.0");
        var digest = (string)manifest["digest"]!;
        await server.Http.StatusAsync("DELETE", "team/app/manifests/1.0");
        await server.Http.StatusAsync("DELETE", $"team/app/manifests/{digest}");
        await server.Http.StatusAsync("DELETE", $"team/app/blobs/{blob}");
        await server.Http.StatusAsync("DELETE", $"team/app/blobs/{blob}");
        server.Http.DefaultRequestHeaders.Remove("Authorization");
        using (await server.SendAsync(AccessServer.Basic("other"), "DELETE", "team/app/manifests/1.0"))
        using (await server.SendAsync(null, "GET", "team/app/tags/list"))
        using (await server.SendAsync(AccessServer.Basic("other", "my other password"), "GET", "/token")) { }

        var lines = server
            .Audit()
            .Select(e =>
                $"{e["principal"]} {e["action"]} {e["repository"]} {e["reference"]} {e["digest"]} {e["outcome"]} {e["error"]}"
            );
        string[] expected =
        [
            $"root upload.finish team/app UPLOAD {blob} done ",
            $"root manifest.push team/app 1.0 {digest} done ",
            "root tag.delete team/app 1.0  done ",
            $"root manifest.delete team/app  {digest} done ",
            $"root blob.delete team/app  {blob} done ",
            $"root blob.delete team/app  {blob} failed BLOB_UNKNOWN",
            "other tag.delete team/app 1.0  refused DENIED",
            // Nothing of the one who brought no credentials: the usual way to a token, and anybody could fill the log.
            "anonymous login    refused ",
        ];
        Assert.Equal(
            expected,
            lines.Select(l => System.Text.RegularExpressions.Regex.Replace(l, " [0-9a-f]{32} ", " UPLOAD "))
        );
        foreach (var entry in server.Audit())
        {
            Assert.Equal("127.0.0.1", (string)entry["address"]!);
            Assert.StartsWith("2026-11-23T08:00:0", (string)entry["time"]!);
            Assert.NotEmpty((string)entry["requestId"]!);
        }

        var text = await File.ReadAllTextAsync(server.AuditFile);
        Assert.DoesNotContain("password", text);
        Assert.DoesNotContain("secret", text);
    }

    [Fact]
    public async Task A_tag_that_a_build_moves_is_written_down_for_its_requester()
    {
        await using var server = await Builds.BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        var lines = File.ReadLines(Path.Combine(server.DataDirectory, "audit.log")).Select(l => JsonNode.Parse(l)!);
        var move = Assert.Single(lines, e => (string)e["action"]! == "tag.move");
        Assert.Equal(
            (job.Id, "1.0", job.CreatedBy),
            ((string)move["requestId"]!, (string)move["reference"]!, (string)move["principal"]!)
        );
        Assert.StartsWith("sha256:", (string)move["digest"]!);
    }

    [Fact]
    public async Task A_full_log_is_set_aside_and_the_oldest_goes()
    {
        await using var server = await AccessServer.StartAsync(change: o =>
            o with
            {
                Access = o.Access with { AuditMaxBytes = 1000, AuditFiles = 2 },
            }
        );
        var log = server.Server.Services.GetRequiredService<AuditLog>();
        for (var i = 0; i < 40; i++)
        {
            log.Write(
                new AuditEntry
                {
                    Principal = "me",
                    Action = AuditActions.ManifestPush,
                    Reference = $"{i}",
                    Outcome = AuditOutcomes.Done,
                }
            );
        }

        var files = Directory
            .GetFiles(server.Server.DataDirectory, "audit.log*")
            .Order(StringComparer.Ordinal)
            .ToList();
        Assert.Equal(["audit.log", "audit.log.1", "audit.log.2"], files.Select(Path.GetFileName));
        var numbers = new[] { files[2], files[1], files[0] }
            .SelectMany(File.ReadLines)
            .Select(l => int.Parse((string)JsonNode.Parse(l)!["reference"]!))
            .ToList();
        Assert.Equal(Enumerable.Range(40 - numbers.Count, numbers.Count), numbers);
        Assert.All(files, f => Assert.True(new FileInfo(f).Length < 1200));
        Assert.All(files, f => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(f)));
    }
}
