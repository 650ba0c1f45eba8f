using System.Diagnostics;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Node.Engines;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Fetching;
using Kiln.Node.Sandbox;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;

namespace Kiln.Tests.Node;

/// <summary>What a node keeps on disk: bounded, never taken from under a build, never in the way of one.</summary>
public sealed class DiskTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kiln-test-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Bases_stay_up_to_a_number_and_bytes_and_while_a_build_holds_them()
    {
        var removed = new List<string>();
        var shelf = new BaseShelf(
            _root,
            2,
            100,
            (gone, _) =>
            {
                removed.Add(gone);
                Directory.Delete(gone, recursive: true);
                return Task.CompletedTask;
            }
        );
        var busy = new BaseHold(shelf);
        Fill(busy.Take("first"), 10);
        foreach (var name in new[] { "second", "third", "fourth" })
        {
            var hold = new BaseHold(shelf);
            Fill(hold.Take(name), 10);
            await hold.ReleaseAsync();
            await Task.Delay(20, Cancel);
        }

        Assert.Equal(["first", "fourth", "third"], Names());
        await busy.ReleaseAsync();
        Assert.Equal(["fourth", "third"], Names());

        var large = new BaseHold(shelf);
        Fill(large.Take("large"), 95);
        await large.ReleaseAsync();
        Assert.Equal(["large"], Names());
        Assert.Equal(4, removed.Count);
        Assert.Empty(shelf.Leftovers());
    }

    [Fact]
    public void What_a_killed_node_left_is_found()
    {
        var shelf = new BaseShelf(_root, 2, 100, (_, _) => Task.CompletedTask);
        Directory.CreateDirectory(Path.Combine(_root, "abc", "unpack-1", "build"));
        Directory.CreateDirectory(Path.Combine(_root, "abc", "layout"));
        Directory.CreateDirectory(Path.Combine(_root, "old-2"));
        Assert.Equal(
            [Path.Combine(_root, "abc", "unpack-1"), Path.Combine(_root, "old-2")],
            shelf.Leftovers().Order(StringComparer.Ordinal)
        );

        var node = new NodeDirectory(Path.Combine(_root, "node"));
        var secrets = Directory.CreateDirectory(NodeDirectory.SecretsOf(node.CreateBuild("l1"))).FullName;
        File.WriteAllText(Path.Combine(secrets, "token"), "hunter2");
        node.DeleteSecrets();
        Assert.False(Directory.Exists(secrets));
    }

    [Fact]
    public async Task Cached_steps_are_not_taken_from_under_another_build_and_broken_ones_are_passed_over()
    {
        var cache = new StepCache(Path.Combine(_root, "steps"), new Jail(_root, TimeProvider.System));
        Directory.CreateDirectory(Path.Combine(_root, "steps"));
        using var other = cache.Use("scope", enabled: true);
        for (var i = 1; i <= 17; i++)
        {
            var store = Directory.CreateDirectory(Path.Combine(_root, "store")).FullName;
            await cache.AddAsync(
                "scope",
                store,
                new Dictionary<string, PublishedLayer> { [$"sha256:{i}"] = new(Blob(i), Blob(i).Digest) },
                Cancel
            );
        }

        using (var all = cache.Use("scope", enabled: true))
        {
            Assert.Equal(17, all.Stores.Count);
            Assert.Equal(17, all.Layers.Count);
        }

        await File.WriteAllBytesAsync(Path.Combine(_root, "steps", "scope", "16", "layers.json"), [], Cancel);
        using var whole = cache.Use("scope", enabled: true);
        Assert.Equal(15, whole.Stores.Count);
        Assert.Equal(15, whole.Layers.Count);
    }

    [Fact]
    public void A_secret_of_many_lines_does_not_slow_the_log()
    {
        var lines = Enumerable.Range(0, 8000).Select(i => $"{i:x8}{new string('k', 50)}");
        var mask = new SecretMask([
            new LeaseSecret { Id = "bundle", Value = Encoding.UTF8.GetBytes(string.Join('\n', lines)) },
        ]);
        var log = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("compiling and linking\n", 50_000)));
        var watch = Stopwatch.StartNew();
        var written = mask.Next(log).Length;
        mask.Advance();
        Assert.Equal(log.Length, written + mask.Rest.Length);
        // A twentieth of a second; one search for each line would take minutes.
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30), $"{watch.Elapsed}");
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private List<string> Names() =>
        [.. Directory.EnumerateDirectories(_root).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)];

    private static void Fill(string home, int bytes)
    {
        Directory.CreateDirectory(Path.Combine(home, "layout"));
        File.WriteAllBytes(Path.Combine(home, "layout", "blob"), new byte[bytes]);
    }

    private static Descriptor Blob(int number) =>
        new()
        {
            MediaType = MediaTypes.OciLayerGzip,
            Digest = Digest.Of([(byte)number]),
            Size = 1,
        };
}
