using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Text.Json;
using Kiln.Client.Registry;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>
/// The referrers API where the registry behind has none: read from the tag that stands for it, and kept up to date in that
/// tag (distribution-spec, "Referrers Tag Schema"), with the caller's own credentials. Who pushes through this server need
/// not know of it; who pushes to the registry behind keeps the same tag.
/// </summary>
internal sealed class ReferrersBehind(PassThrough wire)
{
    private const int MaxBytes = 8 << 20;
    private const int MaxLocks = 10_000;

    private readonly ConcurrentDictionary<string, SemaphoreSlim> _locks = new(StringComparer.Ordinal);

    /// <summary>Whether the registry behind was found to have no referrers API.</summary>
    public bool IsMissing { get; set; }

    /// <summary>One at a time for each repository: an entry that two add at once would be lost.</summary>
    public async Task<IDisposable> LockAsync(RepositoryName repository, CancellationToken cancel)
    {
        if (_locks.Count > MaxLocks)
        {
            foreach (var (name, idle) in _locks.Where(l => l.Value.CurrentCount == 1))
            {
                _locks.TryRemove(new(name, idle));
            }
        }

        var gate = _locks.GetOrAdd(repository.Value, _ => new SemaphoreSlim(1, 1));
        await gate.WaitAsync(cancel);
        return new Held(gate);
    }

    /// <summary>The referrers in the tag of a subject; none where there is no such tag.</summary>
    /// <param name="artifactType">Nothing but this; null gives all.</param>
    /// <returns>Null where the caller may not read the repository, as the registry behind has said by then.</returns>
    public async Task<ImageIndex> ListAsync(
        HttpContext http,
        RepositoryName repository,
        Digest subject,
        string? artifactType
    ) =>
        new()
        {
            Manifests =
            [
                .. (await ReadAsync(http, repository, subject)).Where(entry =>
                    artifactType is null || entry.ArtifactType == artifactType
                ),
            ],
        };

    /// <summary>Lists a manifest, which the client has pushed, among the referrers of its subject.</summary>
    /// <returns>Why that was not possible; null where it was.</returns>
    public async Task<string?> AddAsync(
        HttpContext http,
        RepositoryName repository,
        Digest subject,
        Descriptor manifest
    )
    {
        using var held = await LockAsync(repository, http.RequestAborted);
        try
        {
            var entries = await ReadAsync(http, repository, subject);
            return entries.Any(entry => entry.Digest == manifest.Digest)
                ? null
                : await WriteAsync(http, repository, subject, [.. entries, manifest]);
        }
        catch (OciException e)
        {
            return e.Message;
        }
    }

    /// <summary>Takes a manifest that the client has deleted out of the referrers of its subject.</summary>
    public async Task RemoveAsync(HttpContext http, RepositoryName repository, Digest subject, Digest manifest)
    {
        using var held = await LockAsync(repository, http.RequestAborted);
        try
        {
            var entries = await ReadAsync(http, repository, subject);
            if (entries.Any(entry => entry.Digest == manifest))
            {
                await WriteAsync(http, repository, subject, [.. entries.Where(entry => entry.Digest != manifest)]);
            }
        }
        catch (OciException)
        {
            // The manifest is gone all the same; an entry that leads nowhere is what clients know to pass over.
        }
    }

    /// <summary>What a manifest names as its subject; null where it names none or is not to be had.</summary>
    public async Task<Digest?> SubjectOfAsync(HttpContext http, RepositoryName repository, Digest manifest)
    {
        using var answer = await wire.AskAsync(
            http,
            HttpMethod.Get,
            $"/v2/{repository}/manifests/{manifest}",
            Credentials(http),
            accept: $"{MediaTypes.OciManifest}, {MediaTypes.OciIndex}"
        );
        return answer.IsSuccessStatusCode && answer.Content.Headers.ContentLength is <= MaxBytes
            ? ManifestReader
                .Read(
                    await BytesAsync(answer, http.RequestAborted),
                    answer.Content.Headers.ContentType?.MediaType,
                    out _
                )
                ?.Subject?.Digest
            : null;
    }

    private static async Task<byte[]> BytesAsync(HttpResponseMessage answer, CancellationToken cancel)
    {
        using var clock = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        using var either = CancellationTokenSource.CreateLinkedTokenSource(clock.Token, cancel);
        try
        {
            await answer.Content.LoadIntoBufferAsync(MaxBytes, either.Token);
            return await answer.Content.ReadAsByteArrayAsync(either.Token);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new OciException(
                ErrorCodes.UpstreamBroken,
                $"the answer of the registry behind broke off ({e.Message}); try again"
            );
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new OciException(
                ErrorCodes.UpstreamSilent,
                "the registry behind has stopped in the middle of its answer; try again"
            );
        }
    }

    private async Task<IReadOnlyList<Descriptor>> ReadAsync(HttpContext http, RepositoryName repository, Digest subject)
    {
        using var answer = await wire.AskAsync(
            http,
            HttpMethod.Get,
            Target(repository, subject),
            Credentials(http),
            accept: MediaTypes.OciIndex
        );
        var status = (int)answer.StatusCode;
        if (status == StatusCodes.Status404NotFound)
        {
            return [];
        }

        if (status is 401 or 403)
        {
            if (answer.Headers.NonValidated.TryGetValues("WWW-Authenticate", out var challenges))
            {
                http.Response.Headers.WWWAuthenticate = challenges.ToArray();
            }

            throw new OciException(
                status == 401 ? ErrorCodes.Unauthorized : ErrorCodes.Denied,
                $"you may not read {repository}, as the registry behind this one says"
            );
        }

        if (!answer.IsSuccessStatusCode || answer.Content.Headers.ContentLength > MaxBytes)
        {
            throw new OciException(
                ErrorCodes.UpstreamBroken,
                $"the registry behind answers {status} when it is asked for the referrers of {subject}"
            );
        }

        var bytes = await BytesAsync(answer, http.RequestAborted);
        // What is no index is somebody's own tag of that name.
        return ManifestReader.Read(bytes, MediaTypes.OciIndex, out _)?.Manifests ?? [];
    }

    private async Task<string?> WriteAsync(
        HttpContext http,
        RepositoryName repository,
        Digest subject,
        IReadOnlyList<Descriptor> entries
    )
    {
        var content = new ByteArrayContent(
            JsonSerializer.SerializeToUtf8Bytes(new ImageIndex { Manifests = entries }, OciJson.Default.ImageIndex)
        );
        content.Headers.ContentType = new MediaTypeHeaderValue(MediaTypes.OciIndex);
        using var answer = await wire.AskAsync(
            http,
            HttpMethod.Put,
            Target(repository, subject),
            Credentials(http),
            content
        );
        return answer.IsSuccessStatusCode
            ? null
            : $"the registry behind answers {(int)answer.StatusCode} to the list of referrers of {subject}";
    }

    private static string Target(RepositoryName repository, Digest subject) =>
        $"/v2/{repository}/manifests/{RegistryClient.ReferrersTag(subject)}";

    private static string? Credentials(HttpContext http) =>
        http.Request.Headers.Authorization.ToString() is { Length: > 0 } header ? header : null;

    private sealed class Held(SemaphoreSlim gate) : IDisposable
    {
        public void Dispose() => gate.Release();
    }
}
