using Kiln.Client;
using Kiln.Oci;

namespace Kiln.Tests.Client;

public sealed class BlobTransferTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-blob-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    [InlineData(3 << 20)]
    public async Task A_blob_is_pushed_once_and_comes_back_as_it_was(int length)
    {
        await using var registry = await TestRegistry.StartAsync();
        using var client = registry.Client();
        var bytes = TestRegistry.Random(length);
        var blob = new Descriptor
        {
            MediaType = "x/y",
            Digest = Digest.Of(bytes),
            Size = length,
        };
        var path = Path.Combine(_folder, "blob");

        Assert.True(await client.PushBlobAsync(registry.Repository("a"), blob, () => new MemoryStream(bytes), Cancel));
        Assert.False(await client.PushBlobAsync(registry.Repository("a"), blob, () => new MemoryStream(bytes), Cancel));
        await client.DownloadBlobAsync(registry.Repository("a"), blob, path, Cancel);

        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Cancel));
        Assert.Equal(length, await client.FindBlobAsync(registry.Repository("a"), blob.Digest, Cancel));
    }

    [Fact]
    public async Task A_registry_that_wants_two_steps_for_a_small_blob_gets_them()
    {
        await using var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            // As distribution does: the POST opens an upload whatever its query says.
            if (http.Request.Method == "POST")
            {
                http.Response.StatusCode = 202;
                http.Response.Headers.Location = "/v2/a/blobs/uploads/session";
            }

            return Task.FromResult(http.Request.Method == "POST");
        };
        using var client = registry.Client();
        var bytes = TestRegistry.Random(10);
        var blob = new Descriptor
        {
            MediaType = "x/y",
            Digest = Digest.Of(bytes),
            Size = bytes.Length,
        };

        await client.PushBlobAsync(registry.Repository("a"), blob, () => new MemoryStream(bytes), Cancel);

        Assert.Equal(bytes, registry.Blobs[blob.Digest.ToString()]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_download_that_is_cut_goes_on_where_it_was(bool ranges)
    {
        await using var registry = await TestRegistry.StartAsync();
        var bytes = TestRegistry.Random(1 << 20);
        var blob = registry.AddBlob(bytes);
        var cuts = 0;
        registry.Intercept = async http =>
        {
            if (http.Request.Method != "GET" || cuts++ >= 2)
            {
                if (!ranges)
                {
                    http.Request.Headers.Remove("Range");
                }

                return false;
            }

            http.Response.ContentLength = bytes.Length;
            await http.Response.Body.WriteAsync(bytes.AsMemory(0, 300_000 * cuts));
            await http.Response.Body.FlushAsync();
            http.Abort();
            return true;
        };
        using var client = registry.Client();
        var path = Path.Combine(_folder, "blob");

        // The second cut answers the range with the whole again, as some proxies do.
        await client.DownloadBlobAsync(registry.Repository("a"), blob, path, Cancel);

        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Cancel));
        Assert.Equal(["blob"], Directory.GetFiles(_folder).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(1)]
    public async Task Wrong_bytes_leave_no_file(int longer)
    {
        await using var registry = await TestRegistry.StartAsync();
        var blob = registry.AddBlob(TestRegistry.Random(1000));
        registry.Blobs[blob.Digest.ToString()] = TestRegistry.Random(1000 + longer);
        using var client = registry.Client();

        var e = await Assert.ThrowsAsync<RegistryException>(() =>
            client.DownloadBlobAsync(registry.Repository("a"), blob, Path.Combine(_folder, "blob"), Cancel)
        );

        Assert.Equal(RegistryFault.Broken, e.Fault);
        Assert.Empty(Directory.GetFiles(_folder));
    }
}
