using System.Net;
using System.Net.Http.Headers;
using Kiln.BuildSpec.Architectures;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Client.Registry;

public sealed partial class RegistryClient
{
    private const int MaxIndexDepth = 3;

    private static readonly string Accepted = string.Join(
        ", ",
        MediaTypes.OciManifest,
        MediaTypes.OciIndex,
        MediaTypes.DockerManifest,
        MediaTypes.DockerList
    );

    /// <summary>Gets a manifest by tag or digest; what comes is verified.</summary>
    public async Task<RemoteManifest> GetManifestAsync(Reference reference, CancellationToken cancel)
    {
        var target = $"/v2/{reference.Repository}/manifests/{reference.ManifestReference}";
        var call = CallOf(
            RemoteRepository.Of(reference),
            HttpMethod.Get,
            target,
            $"getting the manifest of {reference}"
        ) with
        {
            Headers = [("Accept", Accepted)],
        };
        var (response, bytes) = await _transport.SendAndReadAsync(call, MaxManifestBytes, cancel);
        var digest = Verify(reference, response, bytes, call.Action);
        var info =
            ManifestReader.Read(bytes, response.Content.Headers.ContentType?.MediaType, out var fault)
            ?? throw new RegistryException(RegistryFault.Broken, call.Action, fault ?? "the manifest cannot be read");
        return new RemoteManifest(digest, bytes, info);
    }

    /// <summary>The digest that a tag or digest stands for; null where the repository has no such manifest.</summary>
    public async Task<Digest?> FindManifestAsync(Reference reference, CancellationToken cancel)
    {
        var call = CallOf(
            RemoteRepository.Of(reference),
            HttpMethod.Head,
            $"/v2/{reference.Repository}/manifests/{reference.ManifestReference}",
            $"looking for the manifest of {reference}"
        ) with
        {
            Headers = [("Accept", Accepted)],
            Expected = [404],
        };
        using var response = await _transport.SendAsync(call, cancel);
        if (response.StatusCode == HttpStatusCode.NotFound)
        {
            return null;
        }

        var told = response.Headers.TryGetValues("Docker-Content-Digest", out var values) ? values.First() : null;
        // Not every registry sends the header; without it the bytes tell.
        return reference.Digest
            ?? (Digest.TryParse(told, out var digest) ? digest : (await GetManifestAsync(reference, cancel)).Digest);
    }

    /// <summary>The image that <paramref name="reference"/> means on <paramref name="platform"/>.</summary>
    /// <exception cref="RegistryException">Also where the index has no image for the platform.</exception>
    public Task<ResolvedImage> ResolveAsync(Reference reference, Platform platform, CancellationToken cancel) =>
        ResolveAsync(reference, platform, null, cancel);

    /// <inheritdoc cref="ResolveAsync(Reference, Platform, CancellationToken)"/>
    /// <param name="microarchitecture">What the machine is beyond its platform, by archspec's name; null where nothing is said.</param>
    public async Task<ResolvedImage> ResolveAsync(
        Reference reference,
        Platform platform,
        string? microarchitecture,
        CancellationToken cancel
    )
    {
        var at = reference;
        Digest? index = null;
        for (var depth = 0; depth <= MaxIndexDepth; depth++)
        {
            var manifest = await GetManifestAsync(at, cancel);
            if (!MediaTypes.IsIndex(manifest.Info.MediaType))
            {
                return new ResolvedImage(Pinned(reference, manifest.Digest), manifest, index);
            }

            index ??= manifest.Digest;
            var chosen =
                ImageChoice.Of(manifest.Info.Manifests, platform, microarchitecture)
                ?? throw NoPlatform(reference, platform, manifest);
            at = Pinned(reference, chosen.Digest);
        }

        throw new RegistryException(
            RegistryFault.Broken,
            $"resolving {reference}",
            $"its indexes are nested deeper than {MaxIndexDepth}"
        );
    }

    /// <summary>
    /// Pushes a manifest under the reference's tag, or by digest where it has none. The reference's digest, where it has
    /// one, says by which algorithm the manifest is to be known.
    /// </summary>
    public async Task<PushedManifest> PushManifestAsync(
        Reference reference,
        string mediaType,
        ReadOnlyMemory<byte> bytes,
        CancellationToken cancel
    )
    {
        var digest = Digest.Of(bytes.Span, reference.Digest?.Algorithm ?? Digest.Sha256);
        // A push by tag means sha256. For another algorithm the tag is a parameter of the push by digest
        // (distribution-spec, "Pushing Manifests", on "tag").
        var byTag = reference.Tag is not null && digest.Algorithm == Digest.Sha256;
        var name =
            byTag ? reference.Tag!.Value
            : reference.Tag is null ? digest.ToString()
            : $"{digest}?tag={reference.Tag}";
        var call = CallOf(
            RemoteRepository.Of(reference),
            HttpMethod.Put,
            $"/v2/{reference.Repository}/manifests/{name}",
            $"pushing the manifest of {reference}"
        ) with
        {
            Rights = "pull,push",
            Content = _ => new ReadOnlyMemoryContent(bytes)
            {
                Headers = { ContentType = new MediaTypeHeaderValue(mediaType) },
            },
        };
        using var response = await _transport.SendAsync(call, cancel);
        return new PushedManifest(digest, LinkHeaders.Links(response), LinkHeaders.Warnings(response))
        {
            // The header says that the registry took note of the subject (distribution-spec, "Pushing Manifests with
            // Subject").
            KnowsSubject = response.Headers.Contains("OCI-Subject"),
        };
    }

    private static Reference Pinned(Reference reference, Digest digest) => reference with { Digest = digest };

    private static Digest Verify(Reference reference, HttpResponseMessage response, byte[] bytes, string action)
    {
        var told = response.Headers.TryGetValues("Docker-Content-Digest", out var values) ? values.First() : null;
        var expected = reference.Digest ?? (Digest.TryParse(told, out var header) ? header : null);
        var actual = Digest.Of(bytes, expected?.Algorithm ?? Digest.Sha256);
        return expected is null || expected == actual
            ? actual
            : throw new RegistryException(
                RegistryFault.Broken,
                action,
                $"the manifest that came is {actual}, not {expected}; it was not used"
            );
    }

    private static RegistryException NoPlatform(Reference reference, Platform platform, RemoteManifest index)
    {
        var offered = index
            .Info.Manifests.Select(m => m.Platform?.ToString())
            .Where(p => p is not null and not "unknown/unknown")
            .Distinct();
        return new RegistryException(
            RegistryFault.NotFound,
            $"resolving {reference}",
            $"it has no image for {platform}; it has {string.Join(", ", offered)}"
        );
    }
}
