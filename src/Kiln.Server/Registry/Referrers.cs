using System.Data.Common;
using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>Which manifests name another as their subject (distribution-spec, "Listing Referrers").</summary>
internal sealed class Referrers(Database database)
{
    private const int MaxEntries = 1000;

    // Annotations come back in full, so that a page is limited by what it weighs as well.
    private const int MaxAnnotationCharacters = 4 << 20;

    /// <summary>
    /// Descriptors in the order of their digests, after the position <paramref name="last"/>. A subject or repository
    /// that is not there has none.
    /// </summary>
    /// <param name="artifactType">Nothing but this; null gives all.</param>
    public Page<Descriptor> List(RepositoryName repository, Digest subject, string? artifactType, string? last)
    {
        var page = database.Read(c =>
            Page<Row>.Of(
                MaxEntries,
                c.Query(
                    """
                    SELECT m.digest, m.media_type, length(m.content), m.artifact_type, m.annotations
                    FROM repositories r JOIN manifests m ON m.repository = r.id
                    WHERE r.name = @name AND m.subject = @subject AND m.digest > @last
                    AND (@type = '' OR m.artifact_type = @type)
                    ORDER BY m.digest LIMIT @limit
                    """,
                    Map,
                    ("name", repository.Value),
                    ("subject", subject.ToString()),
                    ("last", last ?? ""),
                    ("type", artifactType ?? ""),
                    ("limit", MaxEntries + 1L)
                )
            )
        );
        var taken = new List<Descriptor>(page.Items.Count);
        long weight = 0;
        foreach (var row in page.Items)
        {
            weight += row.Annotations?.Length ?? 0;
            if (weight > MaxAnnotationCharacters && taken.Count > 0)
            {
                return new(taken, More: true);
            }

            taken.Add(row.Describe());
        }

        return new(taken, page.More);
    }

    private static Row Map(DbDataReader row) =>
        new(row.GetString(0), row.GetString(1), row.GetInt64(2), row.TextOrNull(3), row.TextOrNull(4));

    private sealed record Row(string Digest, string MediaType, long Size, string? ArtifactType, string? Annotations)
    {
        public Descriptor Describe() =>
            new()
            {
                MediaType = MediaType,
                Digest = Oci.Digest.Parse(Digest),
                Size = Size,
                ArtifactType = ArtifactType,
                Annotations = Annotations is null
                    ? null
                    : JsonSerializer.Deserialize(Annotations, OciJson.Default.IReadOnlyDictionaryStringString),
            };
    }
}
