using System.Globalization;
using Kiln.Client;
using Kiln.Oci;
using Kiln.Server.Front;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>What builds pull of the registry behind: with this server's login, since they have none of their own.</summary>
internal sealed class FrontBuildPulls(BuildPulls pulls, RegistryBehind behind, ContentBehind content)
{
    /// <summary>Answers a build that pulls a manifest.</summary>
    /// <returns>False where it is no build that asks.</returns>
    public async Task<bool> TryManifestAsync(V2Context context)
    {
        if (pulls.Admit(context.Http, context.Repository) is not { } asServer)
        {
            return false;
        }

        var client = asServer ? behind.Client : behind.Nobody;

        var digest = Digest.TryParse(context[0], out var named) ? named : null;
        var tag = digest is null && Tag.TryParse(context[0], out var byName) ? byName : null;
        if (digest is null && tag is null)
        {
            throw new OciException(ErrorCodes.ManifestUnknown, $"'{V2Context.Shorten(context[0])}' names no manifest");
        }

        try
        {
            var found = await client.GetManifestAsync(
                new Reference(behind.Host, context.Repository, tag, digest),
                context.Cancel
            );
            context.Response.Headers["Docker-Content-Digest"] = found.Digest.ToString();
            await context.WriteJsonAsync(found.Bytes, found.Info.MediaType);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            throw new OciException(
                ErrorCodes.ManifestUnknown,
                $"repository {context.Repository} has no manifest {context[0]}"
            );
        }
        catch (RegistryException e)
        {
            throw Refusal(e, context.Repository, asServer);
        }

        return true;
    }

    /// <summary>Answers a build that pulls a blob.</summary>
    /// <inheritdoc cref="TryManifestAsync"/>
    public async Task<bool> TryBlobAsync(V2Context context)
    {
        if (pulls.Admit(context.Http, context.Repository) is not { } asServer)
        {
            return false;
        }

        var client = asServer ? behind.Client : behind.Nobody;

        try
        {
            var (from, range) = (Offset(context), StatusCodes.Status206PartialContent);
            var digest = context.DigestAt(0);
            var there = behind.Named(context.Repository);
            if (await client.FindBlobAsync(there, digest, context.Cancel) is not { } size || (from > 0 && from >= size))
            {
                throw new OciException(ErrorCodes.BlobUnknown, $"repository {context.Repository} has no blob {digest}");
            }

            var response = context.Response;
            response.ContentType = MediaTypes.OctetStream;
            response.ContentLength = size - from;
            if (from > 0)
            {
                response.StatusCode = range;
                response.Headers.ContentRange = string.Create(
                    CultureInfo.InvariantCulture,
                    $"bytes {from}-{size - 1}/{size}"
                );
            }

            if (!context.IsHead)
            {
                await using var blob = await client.OpenBlobAsync(there, digest, context.Cancel, from);
                await blob.CopyToAsync(response.Body, context.Cancel);
            }
        }
        catch (RegistryException e)
        {
            throw Refusal(e, context.Repository, asServer);
        }
        catch (IOException) when (context.Response.HasStarted)
        {
            context.Http.Abort();
        }

        return true;
    }

    private OciException Refusal(RegistryException e, RepositoryName repository, bool asServer) =>
        asServer || e.Fault != RegistryFault.NotAllowed
            ? content.Of(e, repository)
            : new OciException(
                ErrorCodes.Denied,
                $"whoever asked for this build could not pull from {repository} then, so the build may not"
            );

    // As build nodes go on where a connection broke: bytes=N-.
    private static long Offset(V2Context context)
    {
        var range = context.Request.Headers.Range.ToString();
        return
            range.StartsWith("bytes=", StringComparison.Ordinal)
            && range.EndsWith('-')
            && long.TryParse(
                range.AsSpan("bytes=".Length, range.Length - "bytes=".Length - 1),
                NumberStyles.None,
                CultureInfo.InvariantCulture,
                out var from
            )
            ? from
            : 0;
    }
}
