using System.Globalization;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Audit;
using Kiln.Server.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Pushing blobs (distribution-spec, "Pushing blobs"): end-4, end-5, end-6, end-11, end-13, end-14.</summary>
internal sealed class UploadEndpoints(
    Uploads uploads,
    Blobs blobs,
    Gate gate,
    LeasedContent leased,
    ServerOptions options
)
{
    public void Map(V2Router router) =>
        router
            .Map("POST", "{name}/blobs/uploads/", Push(AuditActions.UploadStart, recorded: false), Start)
            .Map("POST", "{name}/blobs/uploads", Push(AuditActions.UploadStart, recorded: false), Start)
            .Map("GET", "{name}/blobs/uploads/{}", Push(AuditActions.Read, recorded: false), Status)
            .Map("PATCH", "{name}/blobs/uploads/{}", Push(AuditActions.UploadAppend, recorded: false), Append)
            .Map("PUT", "{name}/blobs/uploads/{}", Push(AuditActions.UploadFinish), Finish)
            .Map("DELETE", "{name}/blobs/uploads/{}", Push(AuditActions.UploadCancel), Cancel);

    // A lease's uploads are its own, and go into its staging area.
    private static Need Push(string action, bool recorded = true) =>
        Need.Push(action, recorded) with
        {
            Lease = LeaseUse.Push,
        };

    private async Task Start(V2Context context)
    {
        if (context.Query("mount") is { } mount && await MountAsync(context, V2Context.ParseDigest(mount)))
        {
            return;
        }

        // A mount that is not possible goes on as an upload: its client has not sent a body.
        if (context.Query("digest") is { } text && context.Query("mount") is null)
        {
            var digest = V2Context.ParseDigest(text);
            CheckSize(context);
            await uploads.PushAsync(
                context.Repository,
                digest,
                context.Request.ContentLength,
                context.Request.Body,
                context.Cancel,
                leased.StagingOf(context)
            );
            context.WriteCreated("blobs", digest);
            return;
        }

        var algorithm = context.Query("digest-algorithm") ?? Digest.Sha256;
        if (!Digest.IsSupported(algorithm))
        {
            throw new OciException(
                ErrorCodes.DigestInvalid,
                $"the digest algorithm '{V2Context.Shorten(algorithm)}' is not supported; use sha256 or sha512"
            );
        }

        var upload = await uploads.StartAsync(context.Repository, algorithm, context.Cancel, leased.StagingOf(context));
        WriteSession(context, upload, length: 0, StatusCodes.Status202Accepted);
    }

    private async Task<bool> MountAsync(V2Context context, Digest digest)
    {
        RepositoryName? from = null;
        if (context.Query("from") is { } name && !RepositoryName.TryParse(name, out from))
        {
            return false;
        }

        if (context.Caller.Lease is { } lease)
        {
            var taken = await leased.MountAsync(context, lease, digest, from);
            if (taken)
            {
                context.WriteCreated("blobs", digest);
            }

            return taken;
        }

        // Whoever may not read the other repository learns nothing of what is in it: the blob has to be pushed.
        if (from is not null && !gate.MayMount(context.Http, context.Caller, context.Repository, from))
        {
            return false;
        }

        var mounted = await blobs.MountAsync(
            context.Repository,
            digest,
            from,
            other => context.Caller.RightsIn(other).HasFlag(Rights.Pull),
            context.Cancel
        );
        if (mounted)
        {
            context.WriteCreated("blobs", digest);
        }

        return mounted;
    }

    private async Task Status(V2Context context)
    {
        var upload = Find(context);
        var length = await uploads.LengthAsync(upload, context.Cancel);
        WriteSession(context, upload, length, StatusCodes.Status204NoContent);
    }

    private async Task Append(V2Context context)
    {
        var upload = Find(context);
        var range = await CheckChunkAsync(context, upload);
        var length = await uploads.AppendAsync(upload, range?.Start, Body(context, range), context.Cancel);
        WriteSession(context, upload, length, StatusCodes.Status202Accepted);
    }

    private async Task Finish(V2Context context)
    {
        var upload = Find(context);
        var digest = V2Context.ParseDigest(context.Query("digest") ?? "");
        var range = await CheckChunkAsync(context, upload);
        await uploads.FinishAsync(
            upload,
            digest,
            range?.Start,
            Body(context, range),
            context.Cancel,
            leased.StagingOf(context)
        );
        context.WriteCreated("blobs", digest);
    }

    private async Task Cancel(V2Context context)
    {
        await uploads.CancelAsync(Find(context), context.Cancel);
        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    private Upload Find(V2Context context) =>
        uploads.Find(context.Repository, context[0], leased.StagingOf(context))
        ?? throw new OciException(
            ErrorCodes.BlobUploadUnknown,
            "there is no such upload in this repository; it may have been finished, cancelled or abandoned too long"
        );

    // A body in chunks of its own is announced by its range alone.
    private static Stream Body(V2Context context, ContentRange? range) =>
        range is null || context.Request.ContentLength is not null
            ? context.Request.Body
            : new ChunkBody(context.Request.Body, range.Length);

    // The size that was announced, and where in the blob the body belongs.
    private async Task<ContentRange?> CheckChunkAsync(V2Context context, Upload upload)
    {
        CheckSize(context);
        if (context.Request.Headers.ContentRange.ToString() is not { Length: > 0 } header)
        {
            return null;
        }

        var length = await uploads.LengthAsync(upload, context.Cancel);
        var range = ContentRange.Parse(header);
        if (range is null || range.Start != length)
        {
            // A refusal tells where to go on.
            SetSession(context, upload, length);
            throw new OciException(
                ErrorCodes.BlobUploadRange,
                $"the Content-Range '{V2Context.Shorten(header)}' does not go on at byte {length}, the next of this upload"
            );
        }

        if (context.Request.ContentLength is { } announced && announced != range.Length)
        {
            SetSession(context, upload, length);
            throw new OciException(
                ErrorCodes.SizeInvalid,
                $"the Content-Range has {range.Length} bytes, but Content-Length is {announced}"
            );
        }

        return range;
    }

    private void CheckSize(V2Context context)
    {
        if (context.Request.ContentLength > options.MaxBlobBytes)
        {
            throw new OciException(
                ErrorCodes.BlobTooLarge,
                $"a blob may have {options.MaxBlobBytes} bytes at most in this registry"
            );
        }
    }

    private static void WriteSession(V2Context context, Upload upload, long length, int status)
    {
        SetSession(context, upload, length);
        context.Response.StatusCode = status;
        if (status != StatusCodes.Status204NoContent)
        {
            context.Response.ContentLength = 0;
        }
    }

    private static void SetSession(V2Context context, Upload upload, long length)
    {
        var headers = context.Response.Headers;
        headers.Location = $"/v2/{upload.Repository}/blobs/uploads/{upload.Id}";
        // "The <end-of-range> is the position of the last uploaded byte"; for none there is only 0-0 to say it with.
        headers["Range"] = string.Create(CultureInfo.InvariantCulture, $"0-{Math.Max(length - 1, 0)}");
        headers["Docker-Upload-UUID"] = upload.Id;
    }
}
