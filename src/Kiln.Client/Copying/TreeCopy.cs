using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Copying;

/// <summary>
/// Copies manifests with everything that they refer to: blobs before their manifest, children before their index, a
/// subject before its referrers, tags last. What is in the target is not sent again, so that a copy that broke off goes
/// on where it was when it is begun anew. One copy at a time; what one brought, the next of the same instance knows.
/// </summary>
public sealed class TreeCopy(IContentSource source, IContentTarget target, CopyOptions options)
{
    /// <summary>Indexes in indexes, deeper than which nothing is followed.</summary>
    public const int MaxDepth = 16;

    private readonly HashSet<Digest> _manifests = [];
    private readonly HashSet<Digest> _blobs = [];
    private readonly HashSet<Digest> _subjects = [];
    private readonly Queue<Digest> _unasked = new();
    private long _manifestsSent;
    private long _blobsSent;
    private long _bytesSent;
    private long _wereThere;

    /// <summary>What this instance did so far.</summary>
    public CopyTally Tally =>
        new(
            Interlocked.Read(ref _manifestsSent),
            Interlocked.Read(ref _blobsSent),
            Interlocked.Read(ref _bytesSent),
            Interlocked.Read(ref _wereThere)
        );

    /// <summary>Copies a manifest of the source, and then points tags of the target at it.</summary>
    /// <exception cref="RegistryException">Either side failed, or the manifests are nested too deeply.</exception>
    public async Task CopyAsync(RemoteManifest root, IReadOnlyList<Tag> tags, CancellationToken cancel)
    {
        _unasked.Clear();
        await WalkAsync(root, 0, cancel);
        while (_unasked.TryDequeue(out var subject))
        {
            foreach (var referrer in await source.ListReferrersAsync(subject, cancel))
            {
                await WalkAsync(await source.GetManifestAsync(referrer.Digest, cancel), 0, cancel);
            }
        }

        foreach (var tag in tags)
        {
            await target.TagAsync(root, tag, cancel);
        }
    }

    private async Task WalkAsync(RemoteManifest manifest, int depth, CancellationToken cancel)
    {
        if (depth > MaxDepth)
        {
            throw new RegistryException(
                RegistryFault.Broken,
                $"copying {manifest.Digest}",
                $"indexes are nested deeper than {MaxDepth}; it was not copied"
            );
        }

        Remember(manifest.Digest);
        if (_manifests.Contains(manifest.Digest))
        {
            return;
        }

        var there = await target.HasManifestAsync(manifest.Digest, cancel);
        if (!there || options.Referrers)
        {
            await ChildrenAsync(manifest, there, depth, cancel);
        }

        if (!there)
        {
            await BlobsAsync(manifest.Info, cancel);
            await target.PutManifestAsync(manifest, cancel);
        }

        _manifests.Add(manifest.Digest);
        Count(manifest.Descriptor, isManifest: true, there);
    }

    // Below a manifest that is there, only names are of interest: they may have referrers that are not.
    private async Task ChildrenAsync(RemoteManifest manifest, bool there, int depth, CancellationToken cancel)
    {
        foreach (var child in manifest.Info.Manifests.Where(IsManifest).Where(Takes))
        {
            if (there && !MediaTypes.IsIndex(child.MediaType))
            {
                Remember(child.Digest);
            }
            else if (!_manifests.Contains(child.Digest))
            {
                await WalkAsync(await source.GetManifestAsync(child.Digest, cancel), depth + 1, cancel);
            }
        }
    }

    private async Task BlobsAsync(ManifestInfo manifest, CancellationToken cancel)
    {
        var blobs = manifest
            .Layers.Concat(manifest.Config is null ? [] : [manifest.Config])
            // Entries of an index that are no manifests: build caches have them.
            .Concat(manifest.Manifests.Where(child => !IsManifest(child)).Where(Takes))
            .DistinctBy(blob => blob.Digest)
            .Where(blob => !_blobs.Contains(blob.Digest))
            .ToList();
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Parallel, CancellationToken = cancel };
        await Parallel.ForEachAsync(blobs, parallel, BlobAsync);
        _blobs.UnionWith(blobs.Select(blob => blob.Digest));
    }

    private async ValueTask BlobAsync(Descriptor blob, CancellationToken cancel)
    {
        try
        {
            var sent = await target.PutBlobAsync(blob, token => source.OpenBlobAsync(blob, token), cancel);
            Count(blob, isManifest: false, !sent);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound && MayBeAbsent(blob))
        {
            // "Non-distributable" layers need not be in a registry (image-spec, layer.md); nor what has other addresses.
        }
    }

    private static bool IsManifest(Descriptor child) =>
        MediaTypes.IsIndex(child.MediaType) || MediaTypes.IsImageManifest(child.MediaType);

    private static bool MayBeAbsent(Descriptor blob) =>
        MediaTypes.IsNonDistributable(blob.MediaType) || blob.Urls is { Count: > 0 };

    private bool Takes(Descriptor child) => options.Takes?.Invoke(child) ?? true;

    private void Remember(Digest subject)
    {
        if (options.Referrers && _subjects.Add(subject))
        {
            _unasked.Enqueue(subject);
        }
    }

    private void Count(Descriptor what, bool isManifest, bool wasThere)
    {
        if (wasThere)
        {
            Interlocked.Increment(ref _wereThere);
        }
        else
        {
            Interlocked.Increment(ref isManifest ? ref _manifestsSent : ref _blobsSent);
            Interlocked.Add(ref _bytesSent, what.Size);
        }

        options.Report?.Invoke(new CopyStep(what, isManifest, wasThere));
    }
}
