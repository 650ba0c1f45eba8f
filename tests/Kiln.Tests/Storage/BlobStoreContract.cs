using Kiln.Oci;
using Kiln.Server.Storage;

namespace Kiln.Tests.Storage;

/// <summary>What every blob store does, whatever it is made of.</summary>
public abstract class BlobStoreContract
{
    private const int Megabyte = 1 << 20;

    internal static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>A store that nobody has used.</summary>
    private protected abstract Task<StoreUnderTest> StartAsync();

    [Theory]
    [InlineData(0, Digest.Sha256)]
    [InlineData(1, Digest.Sha512)]
    [InlineData(100_000, Digest.Sha256)]
    [InlineData(20 * Megabyte + 7, Digest.Sha256)]
    public async Task A_committed_blob_is_there_whole_and_in_parts(int size, string algorithm)
    {
        await using var test = await StartAsync();
        var content = Samples.Bytes(size);

        var digest = await PushAsync(test.Store, content, algorithm);

        Assert.Equal(Digest.Of(content, algorithm), digest);
        Assert.Equal(size, await test.Store.SizeAsync(digest, Cancel));
        Assert.Equal(content, await ReadAsync(test.Store, digest));
        if (size > 10)
        {
            Assert.Equal(content[^5..], await ReadAsync(test.Store, digest, size - 5));
            Assert.Equal(content[3..9], (await ReadAsync(test.Store, digest, 3, 6))[..6]);
        }

        Assert.Empty(await ReadAsync(test.Store, digest, size));
        Assert.Null(await test.Store.UploadedAsync("push", Cancel));
    }

    [Fact]
    public async Task What_is_not_committed_is_no_blob()
    {
        await using var test = await StartAsync();
        var content = Samples.Bytes(9 * Megabyte);
        var digest = Digest.Of(content);
        await using (var upload = await test.Store.UploadAsync("u", Digest.Sha256, Cancel))
        {
            await upload.AppendAsync(content, Cancel);
            Assert.Equal(digest, await upload.DigestAsync(Cancel));
            Assert.Null(await test.Store.SizeAsync(digest, Cancel));
        }

        Assert.Null(await test.Store.SizeAsync(digest, Cancel));
        Assert.Null(await test.Store.OpenAsync(digest, 0, Cancel));
        Assert.Equal(content.Length, await test.Store.UploadedAsync("u", Cancel));
        Assert.Null(await test.Store.UploadedAsync("other", Cancel));
    }

    [Theory]
    [InlineData(false, 1000, 1, 300_000)]
    [InlineData(true, 1000, 1, 300_000)]
    [InlineData(false, 9 * Megabyte, 3 * Megabyte, 17 * Megabyte)]
    [InlineData(true, 9 * Megabyte, 3 * Megabyte, 17 * Megabyte)]
    [InlineData(true, Megabyte, Megabyte, Megabyte, Megabyte, Megabyte, Megabyte, Megabyte)]
    public async Task An_upload_goes_on_with_the_next_request_wherever_that_comes_in(bool moves, params int[] chunks)
    {
        await using var test = await StartAsync();
        var content = Samples.Bytes(chunks.Sum());
        var done = 0;
        foreach (var chunk in chunks)
        {
            await using (var upload = await test.Store.UploadAsync("u", Digest.Sha256, Cancel))
            {
                Assert.Equal(done, upload.Length);
                await upload.AppendAsync(content.AsMemory(done, chunk), Cancel);
            }

            done += chunk;
            Assert.Equal(done, await test.Store.UploadedAsync("u", Cancel));
            if (moves)
            {
                await test.MoveAsync();
            }
        }

        await using var last = await test.Store.UploadAsync("u", Digest.Sha256, Cancel);
        var digest = await last.CommitAsync(Cancel);

        Assert.Equal(Digest.Of(content), digest);
        Assert.Equal(content, await ReadAsync(test.Store, digest));
        Assert.Null(await test.Store.UploadedAsync("u", Cancel));
    }

    [Fact]
    public async Task A_last_request_may_ask_for_another_algorithm()
    {
        await using var test = await StartAsync();
        var content = Samples.Bytes(10 * Megabyte);
        await AppendAsync(test.Store, content[..^1000]);
        await test.MoveAsync();

        await using var last = await test.Store.UploadAsync("u", Digest.Sha512, Cancel);
        await last.AppendAsync(content.AsMemory(content.Length - 1000), Cancel);

        Assert.Equal(Digest.Of(content, Digest.Sha512), await last.CommitAsync(Cancel));
    }

    [Theory]
    [InlineData(false, 5000)]
    [InlineData(true, 5000)]
    [InlineData(false, 9 * Megabyte)]
    [InlineData(true, 9 * Megabyte)]
    public async Task What_is_rolled_back_was_never_there(bool moves, int size)
    {
        await using var test = await StartAsync();
        var kept = Samples.Bytes(size);
        await AppendAsync(test.Store, kept);
        if (moves)
        {
            await test.MoveAsync();
        }

        await using (var upload = await test.Store.UploadAsync("u", Digest.Sha256, Cancel))
        {
            await upload.AppendAsync(Samples.Bytes(size * 2), Cancel);
            upload.RollBack();
            Assert.Equal(kept.Length, upload.Length);
        }

        Assert.Equal(kept.Length, await test.Store.UploadedAsync("u", Cancel));
        await using var last = await test.Store.UploadAsync("u", Digest.Sha256, Cancel);
        Assert.Equal(Digest.Of(kept), await last.CommitAsync(Cancel));
    }

    [Fact]
    public async Task An_upload_belongs_to_one_request_at_a_time()
    {
        await using var test = await StartAsync();
        await AppendAsync(test.Store, Samples.Bytes(10));
        await using (await test.Store.UploadAsync("u", Digest.Sha256, Cancel))
        {
            await RefusedAsync(() => test.Store.UploadAsync("u", Digest.Sha256, Cancel));
            await RefusedAsync(() => test.Store.DiscardAsync("u", Cancel));
            Assert.Equal(0, await test.Store.DiscardAsync(test.InAnHour, Cancel));
        }

        await AppendAsync(test.Store, Samples.Bytes(10));
        Assert.Equal(20, await test.Store.UploadedAsync("u", Cancel));
    }

    [Fact]
    public async Task A_discarded_upload_begins_again_from_nothing()
    {
        await using var test = await StartAsync();
        await AppendAsync(test.Store, Samples.Bytes(9 * Megabyte));

        await test.Store.DiscardAsync("u", Cancel);
        await test.Store.DiscardAsync("never", Cancel);

        Assert.Null(await test.Store.UploadedAsync("u", Cancel));
        var content = Samples.Bytes(100);
        Assert.Equal(Digest.Of(content), await PushAsync(test.Store, content, Digest.Sha256, "u"));
    }

    [Fact]
    public async Task Old_uploads_are_thrown_away_and_fresh_ones_are_not()
    {
        await using var test = await StartAsync();
        await AppendAsync(test.Store, Samples.Bytes(9 * Megabyte));

        Assert.Equal(0, await test.Store.DiscardAsync(test.InAnHour.AddHours(-2), Cancel));
        Assert.NotNull(await test.Store.UploadedAsync("u", Cancel));
        Assert.Equal(1, await test.Store.DiscardAsync(test.InAnHour, Cancel));
        Assert.Null(await test.Store.UploadedAsync("u", Cancel));
    }

    [Fact]
    public async Task A_blob_that_is_pushed_again_is_there_and_a_deleted_one_is_not()
    {
        await using var test = await StartAsync();
        var content = Samples.Bytes(9 * Megabyte);
        var digest = await PushAsync(test.Store, content);
        await PushAsync(test.Store, content);
        Assert.Equal(content, await ReadAsync(test.Store, digest));

        await test.Store.DeleteAsync(digest, Cancel);
        await test.Store.DeleteAsync(digest, Cancel);

        Assert.Null(await test.Store.SizeAsync(digest, Cancel));
        Assert.Null(await test.Store.OpenAsync(digest, 0, Cancel));
    }

    private protected static async Task<Digest> PushAsync(
        IBlobStore store,
        byte[] content,
        string algorithm = Digest.Sha256,
        string id = "push"
    )
    {
        await using var upload = await store.UploadAsync(id, algorithm, Cancel);
        for (var done = 0; done < content.Length; done += Megabyte)
        {
            await upload.AppendAsync(content.AsMemory(done, Math.Min(Megabyte, content.Length - done)), Cancel);
        }

        return await upload.CommitAsync(Cancel);
    }

    private protected static async Task AppendAsync(IBlobStore store, byte[] content)
    {
        await using var upload = await store.UploadAsync("u", Digest.Sha256, Cancel);
        await upload.AppendAsync(content, Cancel);
    }

    private protected static async Task<byte[]> ReadAsync(
        IBlobStore store,
        Digest digest,
        long offset = 0,
        long length = long.MaxValue
    )
    {
        await using var stream = await store.OpenAsync(digest, offset, length, Cancel);
        using var content = new MemoryStream();
        await stream!.CopyToAsync(content, Cancel);
        return content.ToArray();
    }

    private protected static async Task RefusedAsync(Func<Task> call) =>
        Assert.Equal(ErrorCodes.BlobUploadBusy, (await Assert.ThrowsAsync<OciException>(call)).Error.Code);
}

/// <summary>A store, and the same bytes as another server finds them.</summary>
internal abstract class StoreUnderTest : IAsyncDisposable
{
    public abstract IBlobStore Store { get; }

    public DateTimeOffset InAnHour { get; } = TimeProvider.System.GetUtcNow().AddHours(1);

    /// <summary>From now on <see cref="Store"/> is that of another server, or of the same one after a restart.</summary>
    public abstract Task MoveAsync();

    public abstract ValueTask DisposeAsync();
}
