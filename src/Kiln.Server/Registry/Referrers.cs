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

    private readonly ReferrerPages _pages = new();

    /// <summary>
    /// Descriptors in the order of their digests, after the position <paramref name="last"/>. A subject or repository
    /// that is not there has none.
    /// </summary>
    /// <param name="artifactType">Nothing but this; null gives all.</param>
    public ReferrerPage List(RepositoryName repository, Digest subject, string? artifactType, string? last)
    {
        var key = new ReferrerPages.Key(repository.Value, subject.ToString(), artifactType, last);
        var state = database.Read(c =>
            c.Scalar<long?>(
                """
                SELECT l.state FROM repositories r JOIN referrer_lists l ON l.repository = r.id
                WHERE r.name = @name AND l.subject = @subject
                """,
                ("name", key.Repository),
                ("subject", key.Subject)
            )
        );
        if (state is { } known && _pages.Find(key, known) is { } kept)
        {
            return kept;
        }

        var made = Make(Select(key));
        if (state is { } before)
        {
            _pages.Keep(key, before, made);
        }

        return made;
    }

    private Page<Row> Select(ReferrerPages.Key key) =>
        database.Read(c =>
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
                    ("name", key.Repository),
                    ("subject", key.Subject),
                    ("last", key.Last ?? ""),
                    ("type", key.ArtifactType ?? ""),
                    ("limit", MaxEntries + 1L)
                )
            )
        );

    private static ReferrerPage Make(Page<Row> page)
    {
        var taken = new List<Descriptor>(page.Items.Count);
        long weight = 0;
        foreach (var row in page.Items)
        {
            weight += row.Annotations?.Length ?? 0;
            if (weight > MaxAnnotationCharacters && taken.Count > 0)
            {
                break;
            }

            taken.Add(row.Describe());
        }

        return new(
            JsonSerializer.SerializeToUtf8Bytes(new ImageIndex { Manifests = taken }, OciJson.Default.ImageIndex),
            taken.Count,
            page.More || taken.Count < page.Items.Count ? taken[^1].Digest.ToString() : null
        );
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
