using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>Products that may be the answer to a request that looks its bases up anew.</summary>
internal static class EarlierResults
{
    private const int Max = 5;

    /// <summary>The latest of a key that are still in the repository, with the bases that they were built on.</summary>
    public static IReadOnlyList<EarlierResult> Of(DbConnection connection, long repository, string key, string by) =>
        connection
            .Query(
                $"""
                SELECT e.manifest, e.dependencies FROM executions e
                WHERE e.repository = @repository AND e.key = @key AND e.finished IS NOT NULL AND e.state = 'succeeded'
                    AND e.shareable = 1 AND (e.private_to IS NULL OR e.private_to = @by) AND e.dependencies IS NOT NULL
                    AND EXISTS (
                        SELECT 1 FROM manifests m WHERE m.repository = e.repository AND m.digest = e.manifest_digest
                    )
                ORDER BY e.finished DESC LIMIT {Max}
                """,
                row => (Manifest: row.GetString(0), Dependencies: row.GetString(1)),
                ("repository", repository),
                ("key", key),
                ("by", by)
            )
            .ConvertAll(e => new EarlierResult
            {
                Manifest = JsonSerializer.Deserialize(e.Manifest, BuildJson.Default.Descriptor)!,
                ResolvedDependencies = JsonSerializer.Deserialize(
                    e.Dependencies,
                    BuildJson.Default.IReadOnlyListResolvedDependency
                )!,
            });
}
