using System.Buffers;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Pulling and deleting blobs (distribution-spec, "Pulling blobs", "Deleting Blobs"): end-2, end-10.</summary>
internal sealed class BlobEndpoints(Blobs blobs)
{
    private const int BufferSize = 256 << 10;

    public void Map(V2Router router) =>
        router
            .Map("GET", "{name}/blobs/{}", Need.Pull, Get)
            .Map("DELETE", "{name}/blobs/{}", Need.Delete(AuditActions.BlobDelete), Delete);

    private async Task Get(V2Context context)
    {
        var digest = context.DigestAt(0);
        if (blobs.Size(context.Repository, digest) is not { } size)
        {
            throw Unknown(context, digest);
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
            await SendAsync(context, digest, range.Offset, response.ContentLength.Value);
        }
    }

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
        return context.IsHead || (condition.Length > 0 && condition != V2Responses.EntityTag(digest))
            ? default
            : ByteRange.Parse(context.Request.Headers.Range.ToString(), size);
    }

    private async Task SendAsync(V2Context context, Digest digest, long offset, long length)
    {
        await using var content =
            await blobs.OpenAsync(context.Repository, digest, offset, context.Cancel) ?? throw Unknown(context, digest);
        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(BufferSize, Math.Max(length, 1)));
        try
        {
            while (length > 0)
            {
                var read = await content.ReadAsync(
                    buffer.AsMemory(0, (int)Math.Min(buffer.Length, length)),
                    context.Cancel
                );
                if (read == 0)
                {
                    throw new IOException($"the stored blob {digest} is shorter than it was when it was pushed");
                }

                await context.Response.Body.WriteAsync(buffer.AsMemory(0, read), context.Cancel);
                length -= read;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static OciException Unknown(V2Context context, Digest digest) =>
        new(ErrorCodes.BlobUnknown, $"repository {context.Repository} has no blob {digest}");
}
