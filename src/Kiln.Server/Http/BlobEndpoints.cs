using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Pulling and deleting blobs (distribution-spec, "Pulling blobs", "Deleting Blobs"): end-2, end-10.</summary>
internal sealed class BlobEndpoints(
    Blobs blobs,
    LeasedContent leased,
    UpstreamTable upstreams,
    CachedBlobs cache,
    TimeProvider time
)
{
    private const int Unblocked = 32 << 10;

    // For one buffer. Kestrel's own least rate counts from the first byte, so that a fast start buys hours of silence.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    public void Map(V2Router router) =>
        router
            .Map("GET", "{name}/blobs/{}", Need.Pull with { Lease = LeaseUse.Pull }, Get)
            .Map("DELETE", "{name}/blobs/{}", Need.Delete(AuditActions.BlobDelete), Delete);

    private async Task Get(V2Context context)
    {
        var digest = context.DigestAt(0);
        var known = await leased.PromiseBlobAsync(context, digest);
        await using var coming = known is null ? await ComingAsync(context, digest) : null;
        known ??= coming?.Size ?? await SizeThereAsync(context, digest);
        if (known is not { } size)
        {
            // Not thrown: clients ask for what is not there with every push.
            await OciErrorWriter.WriteAsync(context.Http, Unknown(context, digest));
            return;
        }

        var response = context.Response;
        response.Headers.AcceptRanges = "bytes";
        response.Headers["Docker-Content-Digest"] = digest.ToString();
        if (context.IsNotModified(digest))
        {
            return;
        }

        var range = Range(context, digest, size);
        if (range.Answer == RangeAnswer.Unsatisfiable)
        {
            response.Headers.ContentRange = $"bytes */{size}";
            throw new OciException(
                ErrorCodes.RangeInvalid,
                $"the range '{V2Context.Shorten(context.Request.Headers.Range.ToString())}' is not within the {size} bytes of this blob"
            );
        }

        if (!context.IsHead && coming is null && blobs.LinkVisible(digest) is { } link)
        {
            Redirect(response, link);
            return;
        }

        response.ContentType = MediaTypes.OctetStream;
        response.ContentLength = size;
        if (range.Answer == RangeAnswer.Part)
        {
            response.StatusCode = StatusCodes.Status206PartialContent;
            response.ContentLength = range.Length;
            response.Headers.ContentRange = $"bytes {range.Offset}-{range.Offset + range.Length - 1}/{size}";
        }

        if (!context.IsHead)
        {
            await SendAsync(context, digest, range.Offset, response.ContentLength.Value, coming);
        }
    }

    // "307 Temporary Redirect" keeps the method, and clients send Range there again (RFC 9110, 15.4.8). Only this caller may
    // read the blob: no cache may give the address to another.
    private static void Redirect(HttpResponse response, Uri link)
    {
        response.StatusCode = StatusCodes.Status307TemporaryRedirect;
        response.Headers.Location = link.AbsoluteUri;
        response.Headers.CacheControl = "private, no-store";
        response.ContentLength = 0;
    }

    // What an upstream has and this registry has not, on its way.
    private Task<BlobReader?> ComingAsync(V2Context context, Digest digest) =>
        !context.IsHead && leased.MayFetch(context) && upstreams.Of(context.Repository) is { } upstream
            ? cache.OpenAsync(upstream, context.Repository, digest, context.Cancel)
            : Task.FromResult<BlobReader?>(null);

    private Task<long?> SizeThereAsync(V2Context context, Digest digest) =>
        context.IsHead && leased.MayFetch(context) && upstreams.Of(context.Repository) is { } upstream
            ? cache.SizeAsync(upstream, context.Repository, digest, context.Cancel)
            : leased.PromiseBlobAsync(context, digest).AsTask();

    private async Task Delete(V2Context context)
    {
        await blobs.DeleteAsync(context.Repository, context.DigestAt(0), context.Cancel);
        context.Response.StatusCode = StatusCodes.Status202Accepted;
        context.Response.ContentLength = 0;
    }

    // Range is defined for GET alone (RFC 9110, 14.2), and If-Range makes it void for other content (13.1.5).
    private static ByteRange Range(V2Context context, Digest digest, long size)
    {
        var condition = context.Request.Headers.IfRange.ToString();
        return context.IsHead || (condition.Length > 0 && condition != Conditions.EntityTag(digest))
            ? default
            : ByteRange.Parse(context.Request.Headers.Range.ToString(), size);
    }

    private async Task SendAsync(V2Context context, Digest digest, long offset, long length, BlobReader? coming)
    {
        coming?.StartAt(offset);
        await using var content =
            (Stream?)coming
            ?? await blobs.OpenVisibleAsync(digest, offset, length, context.Cancel)
            ?? throw new OciException(Unknown(context, digest));
        try
        {
            // What Kestrel takes at once needs no clock.
            using var stalled = length > Unblocked ? new CancellationTokenSource(Timeout.InfiniteTimeSpan, time) : null;
            using var either = stalled is null
                ? null
                : CancellationTokenSource.CreateLinkedTokenSource(stalled.Token, context.Cancel);
            var body = context.Response.BodyWriter;
            for (int read; length > 0; length -= read)
            {
                // Straight into what the socket is written from.
                var part = body.GetMemory((int)Math.Min(Unblocked, length));
                read = await content.ReadAsync(part[..(int)Math.Min(part.Length, length)], context.Cancel);
                if (read == 0)
                {
                    throw new IOException($"the stored blob {digest} is shorter than it was when it was pushed");
                }

                body.Advance(read);
                var flush = body.FlushAsync(either?.Token ?? context.Cancel);
                if (!flush.IsCompletedSuccessfully)
                {
                    stalled?.CancelAfter(Patience);
                }

                if ((await flush).IsCompleted)
                {
                    return;
                }

                stalled?.CancelAfter(Timeout.InfiniteTimeSpan);
            }
        }
        catch (OperationCanceledException) when (!context.Cancel.IsCancellationRequested)
        {
            // Only a broken connection tells a client that does not read.
            context.Http.Abort();
        }
    }

    private static OciError Unknown(V2Context context, Digest digest) =>
        new(ErrorCodes.BlobUnknown, $"repository {context.Repository} has no blob {digest}");
}
