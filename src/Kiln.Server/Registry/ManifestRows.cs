using System.Data.Common;
using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>The rows of a manifest: itself, and what it refers to.</summary>
internal static class ManifestRows
{
    /// <summary>Writes the rows of a manifest that was judged before.</summary>
    /// <param name="created">In Unix milliseconds.</param>
    public static void Insert(
        DbTransaction transaction,
        long repository,
        Digest digest,
        ManifestInfo manifest,
        ReadOnlyMemory<byte> content,
        long created
    )
    {
        var annotations = manifest.Annotations is { Count: > 0 } map
            ? JsonSerializer.Serialize(map, OciJson.Default.IReadOnlyDictionaryStringString)
            : null;
        // The same bytes may come again under another Content-Type where they name none themselves: the last one counts.
        transaction.Run(
            """
            INSERT INTO manifests (repository, digest, media_type, artifact_type, subject, annotations, content, created)
            VALUES (@repository, @digest, @type, @artifact, @subject, @annotations, @content, @now)
            ON CONFLICT (repository, digest)
            DO UPDATE SET media_type = excluded.media_type, artifact_type = excluded.artifact_type
            """,
            ("repository", repository),
            ("digest", digest.ToString()),
            ("type", manifest.MediaType),
            ("artifact", manifest.EffectiveArtifactType),
            ("subject", manifest.Subject?.Digest.ToString()),
            ("annotations", annotations),
            ("content", content.ToArray()),
            ("now", created)
        );
        foreach (var (target, kind) in References(manifest).Distinct())
        {
            transaction.Run(
                """
                INSERT INTO manifest_references (repository, manifest, digest, kind)
                VALUES (@repository, @manifest, @digest, @kind) ON CONFLICT DO NOTHING
                """,
                ("repository", repository),
                ("manifest", digest.ToString()),
                ("digest", target.ToString()),
                ("kind", kind)
            );
        }
    }

    /// <summary>A manifest's bytes, as a transaction sees them; null where the repository has none of that digest.</summary>
    public static byte[]? Content(DbConnection connection, long repository, Digest digest) =>
        connection
            .Query(
                "SELECT content FROM manifests WHERE repository = @repository AND digest = @digest",
                row => row.GetFieldValue<byte[]>(0),
                ("repository", repository),
                ("digest", digest.ToString())
            )
            .FirstOrDefault();

    public static IEnumerable<(Digest Digest, string Kind)> References(ManifestInfo manifest) =>
        manifest
            .Layers.Select(layer => (layer.Digest, "layer"))
            .Concat(manifest.Manifests.Select(child => (child.Digest, "manifest")))
            .Concat(manifest.Config is null ? [] : [(manifest.Config.Digest, "config")]);
}
