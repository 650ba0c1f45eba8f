using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Storage;
using Kiln.Tests.Registry;
using Kiln.Tests.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Collection;

/// <summary>A disk or a bucket that will not delete something.</summary>
public sealed class FailedDeletionTests
{
    [Fact]
    public async Task A_blob_that_cannot_be_deleted_is_told_of_and_keeps_no_other_from_going()
    {
        TestState.RequireFiles();
        await using var server = await CollectedServer.StartAsync(configure: services =>
            services.AddSingleton<IBlobStore, OddStore>()
        );
        var store = (OddStore)server.Server.Services.GetRequiredService<IBlobStore>();
        var blobs = new List<Digest>();
        for (var i = 0; i < 4; i++)
        {
            blobs.Add(await server.Http.PushBlobAsync("a/b", Samples.Bytes(1000 + i)));
        }

        // The collection comes to them in this order.
        blobs.Sort((a, b) => string.CompareOrdinal(a.ToString(), b.ToString()));
        store.Deleting = digest =>
        {
            if (digest == blobs[0])
            {
                throw new IOException("the disk will not");
            }
        };
        var items = new List<CollectionItem>();
        for (var i = 0; i < 4; i++)
        {
            items.AddRange(await server.CollectAsync());
            server.Time.Advance(TimeSpan.FromDays(2));
        }

        Assert.Equal(
            blobs[1..].Select(b => b.ToString()),
            items
                .Where(i => i is { Kind: CollectionKinds.Blob, Action: CollectionActions.Deleted })
                .Select(i => i.Reference)
        );
        Assert.All(blobs[1..], blob => Assert.False(server.HasFile(blob)));
        // Once when it was its turn, and again each time after that.
        var failed = items.FindAll(i => i.Action == CollectionActions.Failed);
        Assert.True(failed.Count > 1);
        Assert.All(failed, f => Assert.Equal(blobs[0].ToString(), f.Reference));
        Assert.All(failed, f => Assert.Contains("the disk will not", f.Reason, StringComparison.Ordinal));
        Assert.True(server.HasFile(blobs[0]));

        store.Deleting = _ => { };
        Assert.DoesNotContain(await server.CollectAsync(), i => i.Action == CollectionActions.Failed);
        Assert.False(server.HasFile(blobs[0]));
    }
}
