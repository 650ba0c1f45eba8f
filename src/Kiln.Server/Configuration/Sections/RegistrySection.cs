namespace Kiln.Server.Configuration.Sections;

/// <summary><c>registry</c>: what may be pushed, how slowly, and by how many.</summary>
internal static class RegistrySection
{
    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, ServerOptions>(
            "registry",
            "What may be pushed, how slowly, and by how many.",
            o => o,
            (_, o) => o,
            new Field<ServerOptions, SparseManifests>(
                "sparse-manifests",
                "Which manifests may refer to what the repository lacks: none, indexes (a mirror of some platforms), or all.",
                Kinds.Choice(
                    ("none", SparseManifests.None),
                    ("indexes", SparseManifests.Indexes),
                    ("all", SparseManifests.All)
                ),
                o => o.Sparse,
                (o, v) => o with { Sparse = v }
            )
            {
                Flag = new("--sparse-manifests"),
            },
            new Field<ServerOptions, long>(
                "max-manifest",
                "The largest manifest.",
                // distribution-spec, "Pushing Manifests": "A registry SHOULD [...] support manifests of at least 4 megabytes"
                Kinds.Size(4 << 20, 64 << 20),
                o => o.MaxManifestBytes,
                (o, v) => o with { MaxManifestBytes = v }
            ),
            new Field<ServerOptions, long>(
                "max-blob",
                "The largest blob.",
                Kinds.Size(1 << 20, 1L << 50),
                o => o.MaxBlobBytes,
                (o, v) => o with { MaxBlobBytes = v }
            ),
            new Field<ServerOptions, TimeSpan>(
                "upload-expiry",
                "An upload without a request for so long is thrown away.",
                Kinds.Duration(TimeSpan.FromMinutes(1), TimeSpan.FromDays(365)),
                o => o.UploadExpiry,
                (o, v) => o with { UploadExpiry = v }
            ),
            new Field<ServerOptions, int>(
                "max-uploads",
                "Uploads that may be open in one repository.",
                Kinds.Whole(1, 1_000_000),
                o => o.MaxUploads,
                (o, v) => o with { MaxUploads = v }
            ),
            new Field<ServerOptions, int>(
                "min-bytes-per-second",
                "What a client has to send on average; slower ones are cut off, and may resume.",
                Kinds.Whole(1, 1_000_000_000),
                o => (int)o.MinBytesPerSecond,
                (o, v) => o with { MinBytesPerSecond = v }
            ),
            new Field<ServerOptions, TimeSpan>(
                "slow-client-grace",
                "How long a client may be slower than that.",
                // Kestrel takes nothing that is not longer than its own heartbeat of a second.
                Kinds.Duration(TimeSpan.FromSeconds(2), TimeSpan.FromHours(1)),
                o => o.SlowClientGrace,
                (o, v) => o with { SlowClientGrace = v }
            ),
            new Field<ServerOptions, int>(
                "max-connections",
                "Connections open at a time, as far as the process may open so many files; those beyond are closed at once.",
                Kinds.Whole(16, 1_000_000),
                o => o.MaxConnections,
                (o, v) => o with { MaxConnections = v }
            )
            {
                Flag = new("--max-connections"),
            }
        );
}
