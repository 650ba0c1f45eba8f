using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// Brings manifests of upstreams into this registry when they are wanted. What has a digest is fetched once and never asked
/// for again; a tag is confirmed by the upstream when its age is up.
/// </summary>
internal sealed class CachedManifests(
    Manifests manifests,
    Tags tags,
    ImmutableTags immutable,
    CacheBook book,
    Database database,
    ServerOptions options,
    TimeProvider time
)
{
    private const int MaxAbsent = 10_000;
    private const string Principal = "upstream";

    private readonly Remembered<bool> _absent = new(time, MaxAbsent);
    private readonly Flights<bool> _flights = new(time);

    /// <summary>
    /// Sees to it that a manifest is here if the upstream has it. Afterwards the repository is as if it had been pushed to.
    /// </summary>
    /// <param name="digest">Which; null goes by the tag.</param>
    /// <returns>A warning for the client, where it gets what may be out of date.</returns>
    /// <exception cref="OciException">The upstream has no answer that can be used, and there is none here.</exception>
    public async Task<string?> RefreshAsync(
        Upstream upstream,
        RepositoryName repository,
        Digest? digest,
        Tag? tag,
        CancellationToken cancel
    )
    {
        upstream.RequireAllowed(repository);
        try
        {
            if (digest is null)
            {
                return await RefreshAsync(upstream, repository, tag!, cancel);
            }

            if (manifests.Head(repository, digest) is not null)
            {
                await book.UseAsync(repository, digest, cancel);
            }
            else
            {
                RequireOnline(upstream, repository, digest.ToString());
                await FindAsync(upstream, repository, $"{repository}@{digest}", known: null, tag: null, digest, cancel);
            }

            return null;
        }
        catch (RegistryException e)
        {
            throw UpstreamErrors.Of(upstream, repository, e);
        }
    }

    private async Task<string?> RefreshAsync(
        Upstream upstream,
        RepositoryName repository,
        Tag tag,
        CancellationToken cancel
    )
    {
        var known = book.Tag(repository, tag);
        if (known is not null)
        {
            await book.UseAsync(repository, known.Digest, cancel);
            if (
                upstream.Options.Offline == OfflinePolicy.Always
                || immutable.RuleFor(repository, tag.Value) is not null
                || time.GetUtcNow() - known.Checked < upstream.Options.TagAge
            )
            {
                return null;
            }
        }

        RequireOnline(upstream, repository, tag.Value);
        try
        {
            await FindAsync(upstream, repository, $"{repository}:{tag}", known, tag, digest: null, cancel);
            return null;
        }
        catch (RegistryException e)
            when (known is not null && Upstream.IsOutage(e) && upstream.Options.Offline == OfflinePolicy.Stale)
        {
            return UpstreamErrors.StaleWarning(upstream, e, known.Checked);
        }
    }

    private static void RequireOnline(Upstream upstream, RepositoryName repository, string what)
    {
        if (upstream.Options.Offline == OfflinePolicy.Always)
        {
            throw new OciException(
                ErrorCodes.ManifestUnknown,
                $"{what} of {repository} is not cached, and this registry is configured never to ask {upstream.Host}"
            );
        }
    }

    // Once for all who want it now. What is not there is not asked for again for a while.
    private async Task FindAsync(
        Upstream upstream,
        RepositoryName repository,
        string key,
        CachedTag? known,
        Tag? tag,
        Digest? digest,
        CancellationToken cancel
    )
    {
        if (_absent.TryGet(key, out _))
        {
            return;
        }

        await _flights.JoinAsync(
            key,
            async () =>
            {
                try
                {
                    await (
                        known is null
                            ? FetchAsync(upstream, repository, tag, digest)
                            : ConfirmAsync(upstream, repository, tag!)
                    );
                }
                catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
                {
                    _absent.Keep(key, true, upstream.Options.AbsenceAge);
                    await ForgetAsync(repository, known is null ? null : tag);
                }

                return true;
            },
            cancel
        );
    }

    private async Task ConfirmAsync(Upstream upstream, RepositoryName repository, Tag tag)
    {
        var digest = await upstream.AskAsync(
            repository,
            async (client, there, cancel) =>
                await client.FindManifestAsync(new Reference(there.Host, there.Name, tag, null), cancel)
                ?? throw new RegistryException(RegistryFault.NotFound, $"looking for {there}:{tag}", "it is not there")
        );
        var here = await database.WriteAsync(
            transaction =>
            {
                var id = Repositories.Find(transaction.Connection!, repository) ?? 0;
                var exists = Manifests.Exists(transaction, id, digest);
                if (exists)
                {
                    book.Confirm(transaction, id, repository, tag, digest);
                }

                return exists;
            },
            CancellationToken.None
        );
        if (!here)
        {
            await FetchAsync(upstream, repository, tag, digest);
        }
    }

    private async Task FetchAsync(Upstream upstream, RepositoryName repository, Tag? tag, Digest? digest)
    {
        var manifest = await upstream.AskAsync(
            repository,
            (client, there, cancel) =>
                client.GetManifestAsync(new Reference(there.Host, there.Name, tag, digest), cancel)
        );
        if (manifest.Bytes.Length > options.MaxManifestBytes)
        {
            throw new RegistryException(
                RegistryFault.Broken,
                $"getting {repository}",
                $"the manifest has {manifest.Bytes.Length} bytes; {options.MaxManifestBytes} is the limit here"
            );
        }

        var push = new ManifestPush
        {
            Repository = repository,
            Content = manifest.Bytes,
            ContentType = manifest.Info.MediaType,
            Digest = manifest.Digest,
            Tags = tag is null ? [] : [tag],
            IsCopy = true,
            Principal = Principal,
        };
        await database.WriteAsync(
            transaction =>
            {
                var stored = manifests.Put(transaction, push).Push;
                book.Fetched(transaction, stored.RepositoryId, repository, stored.Digest);
                if (tag is not null)
                {
                    book.Confirm(transaction, stored.RepositoryId, repository, tag, stored.Digest);
                }
            },
            CancellationToken.None
        );
    }

    // The upstream has the tag no more. What it pointed at stays: whoever has its digest can still have it.
    private async Task ForgetAsync(RepositoryName repository, Tag? tag)
    {
        if (tag is null)
        {
            return;
        }

        try
        {
            await tags.DeleteAsync(repository, tag, precondition: null, CancellationToken.None);
        }
        catch (OciException e) when (e.Error.Code == ErrorCodes.ManifestUnknown)
        {
            // Somebody else was faster.
        }
    }
}
