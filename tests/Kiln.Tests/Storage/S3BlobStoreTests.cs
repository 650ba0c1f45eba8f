using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Sqlite;
using Kiln.Server.Storage;
using Kiln.Server.Storage.S3;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Storage;

public sealed class S3BlobStoreTests : BlobStoreContract
{
    private const int Megabyte = 1 << 20;

    private protected override Task<StoreUnderTest> StartAsync() => Task.FromResult<StoreUnderTest>(new Bucket());

    [Fact]
    public async Task Nothing_of_an_upload_stays_in_the_bucket_after_its_end()
    {
        await using var test = new Bucket();
        await PushAsync(test.Store, Samples.Bytes(20 * Megabyte));
        await AppendAsync(test.Store, Samples.Bytes(9 * Megabyte));
        await test.Store.DiscardAsync("u", Cancel);

        Assert.StartsWith("blobs/", Assert.Single(await test.KeysAsync()), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_killed_server_left_is_swept_with_the_old_uploads()
    {
        await using var test = new Bucket();
        await AppendAsync(test.Store, Samples.Bytes(10));
        await test.Objects.PutAsync("uploads/gone/00000-1", Samples.Bytes(10), Cancel);

        await test.Store.DiscardAsync(test.InAnHour.AddHours(-2), Cancel);
        Assert.Equal(2, (await test.KeysAsync()).Count);
        await test.Store.DiscardAsync(test.InAnHour, Cancel);

        Assert.Empty(await test.KeysAsync());
    }

    [Fact]
    public async Task A_server_that_was_taken_for_dead_can_change_nothing_any_more()
    {
        await using var test = new Bucket();
        var content = Samples.Bytes(9 * Megabyte);
        await AppendAsync(test.Store, content);
        var slow = await test.Store.UploadAsync("u", Digest.Sha256, Cancel);
        await slow.AppendAsync(Samples.Bytes(9 * Megabyte), Cancel);

        await test.MoveAsync();
        await using var taken = await test.Store.UploadAsync("u", Digest.Sha256, Cancel);
        var before = taken.Length;
        await RefusedAsync(() => slow.DisposeAsync().AsTask());

        Assert.Equal(before, taken.Length);
        await taken.CommitAsync(Cancel);
    }

    [Fact]
    public async Task A_commit_that_was_cut_off_is_cleared_away_and_can_be_done_again()
    {
        await using var test = new Bucket();
        var content = Samples.Bytes(20 * Megabyte);
        await AppendAsync(test.Store, content);
        var key = S3BlobStore.Key(Digest.Of(content));
        var multipart = await test.Objects.BeginAsync(key, Cancel);
        await test.Objects.PartAsync(key, multipart, 1, content.AsMemory(0, 8 * Megabyte), Cancel);
        var state = await test.Rows.TakeAsync("u", Cancel);
        await test.Rows.CommittingAsync("u", state!.Fence, key, multipart, Cancel);

        await test.MoveAsync();
        await using (var again = await test.Store.UploadAsync("u", Digest.Sha256, Cancel))
        {
            Assert.Equal(Digest.Of(content), await again.CommitAsync(Cancel));
        }

        Assert.Equal(content, await ReadAsync(test.Store, Digest.Of(content)));
        await Assert.ThrowsAsync<OciException>(() =>
            test.Objects.CompleteAsync(key, multipart, [new Amazon.S3.Model.PartETag(1, "x")], Cancel)
        );
    }

    [Theory]
    [InlineData(true, 8, 8, 8)]
    [InlineData(false, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)]
    [InlineData(false, 1, 8, 1, 8, 3, 1)]
    [InlineData(true, 2)]
    public void Every_part_but_the_last_has_what_S3_asks_for(bool hasRest, params int[] megabytes)
    {
        var staged = megabytes.Select((size, i) => new StagedPart(i, $"{i}", size * Megabyte)).ToList();

        var pieces = S3Assembly.Plan(staged, hasRest);

        Assert.Equal(staged, pieces.SelectMany(piece => piece));
        Assert.All(pieces.SkipLast(1), piece => Assert.True(piece.Sum(part => part.Size) >= 5 * Megabyte));
    }

    [Fact]
    public void The_largest_blob_fits_into_the_parts_that_S3_allows()
    {
        var most = Enumerable.Range(0, StagedUploads.MaxParts).Sum(ordinal => (long)S3Upload.PartSize(ordinal));

        Assert.True(most > new ServerOptions { DataDirectory = "" }.MaxBlobBytes);
        Assert.True(StagedUploads.MaxParts <= 10_000);
    }

    [Fact]
    public async Task An_address_that_is_given_away_opens_the_one_blob_and_its_ranges()
    {
        await using var test = new Bucket(redirect: true);
        var content = Samples.Bytes(5000);
        var digest = await PushAsync(test.Store, content);
        var link = test.Store.Link(digest)!;
        using var http = new HttpClient();

        Assert.Equal(content, await http.GetByteArrayAsync(link, Cancel));
        using var part = new HttpRequestMessage(HttpMethod.Get, link);
        part.Headers.Range = new RangeHeaderValue(10, 19);
        using var answer = await http.SendAsync(part, Cancel);
        Assert.Equal(HttpStatusCode.PartialContent, answer.StatusCode);
        Assert.Equal(content[10..20], await answer.Content.ReadAsByteArrayAsync(Cancel));
        // The server of these tests compares no signatures; that they differ is what can be seen here.
        var words = System.Web.HttpUtility.ParseQueryString(link.Query);
        Assert.InRange(int.Parse(words["X-Amz-Expires"]!, CultureInfo.InvariantCulture), 1, 960);
        var other = test.Store.Link(Digest.Of(content.AsSpan(1)))!;
        Assert.NotEqual(
            words["X-Amz-Signature"],
            System.Web.HttpUtility.ParseQueryString(other.Query)["X-Amz-Signature"]
        );
    }

    [Theory]
    [InlineData("s3://bucket", "bucket", "")]
    [InlineData("s3://my.bucket-1/a/b/", "my.bucket-1", "a/b/")]
    public void Storage_names_a_bucket_and_a_part_of_it(string text, string bucket, string prefix)
    {
        Assert.Equal(new BucketName(bucket, prefix), BucketName.TryParse(text));
    }

    [Theory]
    [InlineData("bucket")]
    [InlineData("s3://")]
    [InlineData("s3://Upper")]
    [InlineData("s3://key:secret@bucket")]
    [InlineData("http://bucket")]
    public void Storage_of_another_form_is_refused(string text) => Assert.Null(BucketName.TryParse(text));

    [Fact]
    public async Task A_server_does_not_start_without_the_bucket_and_says_why()
    {
        var bucket = TestState.RequireBucket();
        var directory = Directory.CreateTempSubdirectory("kiln-s3-").FullName;
        var options = new ServerOptions { DataDirectory = directory, Urls = "http://127.0.0.1:0" };

        var missing = await Assert.ThrowsAsync<ServerStartException>(() =>
            KilnServer.RunAsync(options with { Storage = bucket with { Location = "s3://no-such-bucket" } }, Cancel)
        );
        var keys = await Assert.ThrowsAsync<ServerStartException>(() =>
            KilnServer.RunAsync(options with { Storage = bucket with { CredentialsFile = "/dev/null" } }, Cancel)
        );

        Assert.Contains("no-such-bucket", missing.Message, StringComparison.Ordinal);
        Assert.Contains("aws_access_key_id", keys.Message, StringComparison.Ordinal);
        Directory.Delete(directory, recursive: true);
    }

    private sealed class Bucket : StoreUnderTest
    {
        private readonly string _root = Directory.CreateTempSubdirectory("kiln-store-").FullName;
        private readonly SqliteDatabase _database;
        private readonly StorageOptions _options;
        private readonly List<S3BlobStore> _stores = [];

        public Bucket(bool redirect = false)
        {
            _options = TestState.RequireBucket() with { Redirect = redirect };
            _database = new SqliteDatabase(Path.Combine(_root, "kiln.db"));
            Next();
        }

        public override IBlobStore Store => _stores[^1];

        /// <summary>The bucket, past the store.</summary>
        public S3Bucket Objects { get; private set; } = null!;

        public StagedUploads Rows { get; private set; } = null!;

        public async Task<List<string>> KeysAsync()
        {
            var keys = new List<string>();
            await foreach (var (key, _, _) in Objects.ListAsync("", Cancel))
            {
                keys.Add(key);
            }

            return keys;
        }

        public override Task MoveAsync()
        {
            Next();
            return Task.CompletedTask;
        }

        public override ValueTask DisposeAsync()
        {
            _stores.ForEach(store => store.Dispose());
            _database.Dispose();
            Directory.Delete(_root, recursive: true);
            return ValueTask.CompletedTask;
        }

        private void Next()
        {
            var time = TimeProvider.System;
            // No other server is alive here: what one had, the next may take.
            var presence = new ServerPresence(
                _database,
                new ServerId($"server-{_stores.Count}"),
                time,
                NullLogger<ServerPresence>.Instance
            );
            Rows = new StagedUploads(_database, presence, time);
            Objects = new S3Bucket(_options, time, NullLogger<S3Bucket>.Instance);
            _stores.Add(new S3BlobStore(Objects, Rows, _options, time));
        }
    }
}
