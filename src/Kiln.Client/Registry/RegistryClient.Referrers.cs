using System.Net;
using System.Text.Json;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Registry;

public sealed partial class RegistryClient
{
    /// <summary>
    /// Manifests whose subject is <paramref name="subject"/>, from the referrers API, or where a registry lacks that, from
    /// the tag that clients keep in its place (distribution-spec, "Unavailable Referrers API"). None where there is no such
    /// manifest.
    /// </summary>
    /// <param name="repository">Where to look.</param>
    /// <param name="subject">The subject's digest.</param>
    /// <param name="artifactType">Nothing but this; null gives all.</param>
    /// <param name="cancel">Ends it.</param>
    public async Task<IReadOnlyList<Descriptor>> ListReferrersAsync(
        RemoteRepository repository,
        Digest subject,
        string? artifactType,
        CancellationToken cancel
    )
    {
        var referrers = new Dictionary<Digest, Descriptor>();
        var query = artifactType is null ? "" : $"?artifactType={Uri.EscapeDataString(artifactType)}";
        var call = CallOf(
            repository,
            HttpMethod.Get,
            $"/v2/{repository.Name}/referrers/{subject}{query}",
            $"listing the referrers of {subject} in {repository}"
        ) with
        {
            Headers = [("Accept", MediaTypes.OciIndex)],
            Expected = [404],
        };
        await foreach (var (response, body, action) in ListPages.ReadAsync(_transport, call, cancel))
        {
            // A registry that has the API answers an empty list for what it does not know; 404 means that it has none
            // (distribution-spec, "Listing Referrers").
            var entries =
                response.StatusCode == HttpStatusCode.NotFound
                    ? (await FindReferrersTagAsync(repository, subject, cancel))?.Info.Manifests ?? []
                    : ReferrersOf(body, action);
            foreach (var entry in entries)
            {
                referrers.TryAdd(entry.Digest, entry);
            }
        }

        // Registries need not filter; OCI-Filters-Applied would say whether they did.
        return [.. referrers.Values.Where(r => artifactType is null || r.ArtifactType == artifactType)];
    }

    /// <summary>
    /// Lists a manifest among the referrers of its subject on a registry that does not do so itself (distribution-spec,
    /// "Pushing Manifests with Subject"). Two clients that do this at once may lose one of the entries.
    /// </summary>
    public async Task AddReferrerAsync(
        RemoteRepository repository,
        Digest subject,
        RemoteManifest manifest,
        CancellationToken cancel
    )
    {
        var entries = (await FindReferrersTagAsync(repository, subject, cancel))?.Info.Manifests ?? [];
        if (entries.Any(entry => entry.Digest == manifest.Digest))
        {
            return;
        }

        var entry = manifest.Descriptor with
        {
            ArtifactType = manifest.Info.EffectiveArtifactType,
            Annotations = manifest.Info.Annotations,
        };
        var index = new ImageIndex { Manifests = [.. entries, entry] };
        await PushManifestAsync(
            new Reference(repository.Host, repository.Name, ReferrersTag(subject), Digest: null),
            MediaTypes.OciIndex,
            JsonSerializer.SerializeToUtf8Bytes(index, OciJson.Default.ImageIndex),
            cancel
        );
    }

    /// <summary>The tag that stands for the referrers API where there is none (distribution-spec, "Referrers Tag Schema").</summary>
    public static Tag ReferrersTag(Digest subject) =>
        Tag.Parse($"{subject.Algorithm}-{subject.Encoded[..Math.Min(64, subject.Encoded.Length)]}");

    private async Task<RemoteManifest?> FindReferrersTagAsync(
        RemoteRepository repository,
        Digest subject,
        CancellationToken cancel
    )
    {
        try
        {
            return await GetManifestAsync(
                new Reference(repository.Host, repository.Name, ReferrersTag(subject), Digest: null),
                cancel
            );
        }
        catch (RegistryException e) when (e.Fault == RegistryFault.NotFound)
        {
            return null;
        }
    }

    private static IReadOnlyList<Descriptor> ReferrersOf(byte[] body, string action) =>
        ManifestReader.Read(body, MediaTypes.OciIndex, out var fault)?.Manifests
        ?? throw new RegistryException(RegistryFault.Broken, action, $"the answer is not an index: {fault}");
}
