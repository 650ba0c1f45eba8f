using System.Text.Json;
using Kiln.Client;
using Kiln.Oci;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>A list, and a warning where it is not what the upstream has now.</summary>
internal sealed record CachedList<T>(IReadOnlyList<T> Items, string? Warning);

/// <summary>
/// Lists of upstreams: tags and referrers. They are kept for a moment, so that one who goes through pages asks once; where
/// the upstream has no answer, they say what is here.
/// </summary>
internal sealed class CachedLists(Tags tags, Referrers referrers, TimeProvider time)
{
    private const int MaxLists = 100;

    // What is listed of what is here, where that is all there is.
    private const int MaxHere = 10_000;

    // Entries of one page.
    private const int MaxReferrers = 1000;
    private static readonly TimeSpan Age = TimeSpan.FromSeconds(60);

    private readonly Remembered<IReadOnlyList<string>> _tags = new(time, MaxLists);
    private readonly Remembered<IReadOnlyList<Descriptor>> _referrers = new(time, MaxLists);
    private readonly Flights<IReadOnlyList<string>> _tagFlights = new(time);
    private readonly Flights<IReadOnlyList<Descriptor>> _referrerFlights = new(time);

    /// <summary>All tags in byte order; null where there is no such repository.</summary>
    /// <exception cref="OciException">The upstream refuses.</exception>
    public async Task<CachedList<string>?> TagsAsync(
        Upstream upstream,
        RepositoryName repository,
        CancellationToken cancel
    )
    {
        upstream.RequireAllowed(repository);
        var key = repository.Value;
        if (_tags.TryGet(key, out var known))
        {
            return new(known, Warning: null);
        }

        if (upstream.Options.Offline == OfflinePolicy.Always)
        {
            return TagsHere(repository, UpstreamErrors.OfflineWarning(upstream));
        }

        try
        {
            var all = await _tagFlights.JoinAsync(key, () => AskTagsAsync(upstream, repository), cancel);
            _tags.Keep(key, all, Age);
            return new(all, Warning: null);
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return null;
        }
        catch (RegistryException e) when (Upstream.IsOutage(e))
        {
            return TagsHere(repository, UpstreamErrors.PartWarning(upstream, e))
                ?? throw UpstreamErrors.Of(upstream, repository, e);
        }
        catch (RegistryException e)
        {
            throw UpstreamErrors.Of(upstream, repository, e);
        }
    }

    /// <summary>A page of the referrers of a manifest, and a warning where it is not what the upstream has now.</summary>
    /// <param name="artifactType">Nothing but this; null gives all.</param>
    /// <param name="last">The position that the page begins after; null is the beginning.</param>
    /// <exception cref="OciException">The upstream refuses.</exception>
    public async Task<(ReferrerPage Page, string? Warning)> ReferrersAsync(
        Upstream upstream,
        RepositoryName repository,
        Digest subject,
        string? artifactType,
        string? last,
        CancellationToken cancel
    )
    {
        upstream.RequireAllowed(repository);
        if (upstream.Options.Offline == OfflinePolicy.Always)
        {
            return (referrers.List(repository, subject, artifactType, last), UpstreamErrors.OfflineWarning(upstream));
        }

        var key = $"{repository}@{subject}";
        try
        {
            if (!_referrers.TryGet(key, out var all))
            {
                all = await _referrerFlights.JoinAsync(
                    key,
                    () => AskReferrersAsync(upstream, repository, subject),
                    cancel
                );
                _referrers.Keep(key, all, Age);
            }

            return (PageOf(all, artifactType, last), null);
        }
        catch (RegistryException e) when (Upstream.IsOutage(e))
        {
            var warning = UpstreamErrors.PartWarning(upstream, e);
            return (referrers.List(repository, subject, artifactType, last), warning);
        }
        catch (RegistryException e)
        {
            throw UpstreamErrors.Of(upstream, repository, e);
        }
    }

    private static async Task<IReadOnlyList<string>> AskTagsAsync(Upstream upstream, RepositoryName repository)
    {
        var listed = await upstream.AskAsync(
            repository,
            (client, there, cancel) => client.ListTagsAsync(there, cancel)
        );
        // Others list in other orders.
        return [.. listed.Where(tag => Tag.TryParse(tag, out _)).Distinct().Order(StringComparer.Ordinal)];
    }

    private static async Task<IReadOnlyList<Descriptor>> AskReferrersAsync(
        Upstream upstream,
        RepositoryName repository,
        Digest subject
    )
    {
        var listed = await upstream.AskAsync(
            repository,
            (client, there, cancel) => client.ListReferrersAsync(there, subject, artifactType: null, cancel)
        );
        return [.. listed.OrderBy(r => r.Digest.ToString(), StringComparer.Ordinal)];
    }

    private CachedList<string>? TagsHere(RepositoryName repository, string warning) =>
        tags.List(repository, last: null, MaxHere) is { } page ? new(page.Items, warning) : null;

    private static ReferrerPage PageOf(IReadOnlyList<Descriptor> all, string? artifactType, string? last)
    {
        var rows = all.Where(r => artifactType is null || r.ArtifactType == artifactType)
            .SkipWhile(r => string.CompareOrdinal(r.Digest.ToString(), last ?? "") <= 0)
            .Take(MaxReferrers + 1)
            .ToList();
        var taken = rows.Count > MaxReferrers ? rows[..MaxReferrers] : rows;
        return new ReferrerPage(
            JsonSerializer.SerializeToUtf8Bytes(new ImageIndex { Manifests = taken }, OciJson.Default.ImageIndex),
            taken.Count,
            rows.Count > taken.Count ? taken[^1].Digest.ToString() : null
        );
    }
}
