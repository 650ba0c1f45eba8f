using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>
/// Recipes and contexts of the registry behind, brought here with this server's own login once whoever asks was found to
/// be allowed to read them with theirs.
/// </summary>
internal sealed class ContentBehind(
    RegistryBehind behind,
    CallerRights rights,
    BuildPulls pulls,
    Blobs blobs,
    Uploads uploads,
    IHttpContextAccessor accessor
) : IRecipesBehind, IDisposable
{
    private const int MaxFetches = 8;
    private readonly SemaphoreSlim _fetches = new(MaxFetches, MaxFetches);

    public async Task<RecipeCopy?> FindAsync(RepositoryName repository, RecipeSource source, CancellationToken cancel)
    {
        Tag? tag = null;
        if (source.Digest is null && !Tag.TryParse(source.Tag, out tag))
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                $"'{source.Tag}' is not a tag; recipe is a digest, a tag, or a mediaType with data"
            );
        }

        try
        {
            var found = await behind.Client.GetManifestAsync(
                new Reference(behind.Host, repository, tag, source.Digest),
                cancel
            );
            return new RecipeCopy(found.Digest, found.Info, CopyOf(repository, found.Digest, found.Bytes, found.Info));
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return null;
        }
        catch (RegistryException e)
        {
            throw Of(e, repository);
        }
    }

    /// <summary>A manifest as it is kept here: without tags, which are behind, and without asking for all of its blobs.</summary>
    public static ManifestPush CopyOf(
        RepositoryName repository,
        Digest digest,
        ReadOnlyMemory<byte> content,
        ManifestInfo manifest
    ) =>
        new()
        {
            Repository = repository,
            Content = content,
            ContentType = manifest.MediaType,
            Digest = digest,
            Principal = Access.Principal.Anonymous.Name,
            IsCopy = true,
        };

    public async Task BringAsync(RepositoryName repository, Descriptor blob, long maxBytes, CancellationToken cancel)
    {
        if (blob.Size > maxBytes || await blobs.PromiseAsync(repository, blob.Digest, cancel) is not null)
        {
            return;
        }

        await _fetches.WaitAsync(cancel);
        try
        {
            await using var body = await behind.Client.OpenWholeBlobAsync(behind.Named(repository), blob, cancel);
            await uploads.PushAsync(repository, blob.Digest, blob.Size, body, cancel);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            // Whoever wants it says that it is missing.
        }
        catch (RegistryException e)
        {
            throw Of(e, repository);
        }
        finally
        {
            _fetches.Release();
        }
    }

    public async Task<IReadOnlyDictionary<string, string>> PointingAsync(
        RepositoryName repository,
        IEnumerable<Tag> tags,
        CancellationToken cancel
    )
    {
        var pointing = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            foreach (var tag in tags)
            {
                // A tag of which nobody could be asked is as one that is not there: what would move it fails.
                if (
                    accessor.HttpContext is { } http
                    && await PointingAsync(new Reference(behind.Host, repository, tag, Digest: null), cancel)
                        is { } manifest
                )
                {
                    await rights.RequireMoveAsync(http, repository, tag, manifest);
                    pointing[tag.Value] = manifest.Digest.ToString();
                }
            }

            return pointing;
        }
        catch (RegistryException e)
        {
            throw Of(e, repository);
        }
    }

    private async Task<RemoteManifest?> PointingAsync(Reference tag, CancellationToken cancel)
    {
        try
        {
            return await behind.Client.GetManifestAsync(tag, cancel);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return null;
        }
    }

    public async Task LearnBasesAsync(string principal, IEnumerable<RepositoryName> bases, CancellationToken cancel)
    {
        foreach (var repository in bases)
        {
            // Who asks is the one whose request this is; where there is none, nothing is learned.
            if (accessor.HttpContext is { } http && await rights.MayPullAsync(http, repository, principal))
            {
                await pulls.NoteAsync(principal, repository, cancel);
            }
        }
    }

    public void Dispose() => _fetches.Dispose();

    /// <summary>What the registry behind said to this server itself, for whoever asked for something else.</summary>
    public OciException Of(RegistryException e, RepositoryName repository)
    {
        var error =
            e.Fault == RegistryFault.NotAllowed
                ? new OciError(
                    ErrorCodes.Denied,
                    $"{behind.Host} lets you into {repository}, but not this server's own login ({e.Why}); its operator has to give it one that may pull and push there"
                )
            : Upstream.IsOutage(e)
                ? new OciError(
                    ErrorCodes.Unavailable,
                    $"{behind.Host}, the registry behind this one, has no answer ({e.Why}); try again later"
                )
            : new OciError(
                ErrorCodes.UpstreamBroken,
                $"{behind.Host}, the registry behind this one, answered what cannot be used ({e.Why})"
            );
        return new OciException(
            error with
            {
                RetryAfter = e.RetryAfter ?? (Upstream.IsOutage(e) ? RegistryBehind.Pause : null),
            }
        );
    }
}
