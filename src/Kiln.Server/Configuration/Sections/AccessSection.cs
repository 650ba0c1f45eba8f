namespace Kiln.Server.Configuration.Sections;

/// <summary><c>access</c>: who is let in, and by which way.</summary>
internal static class AccessSection
{
    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, AccessOptions>(
            "access",
            "Who is let in, and by which way.",
            o => o.Access,
            (o, v) => o with { Access = v },
            [.. Doors, .. AuditLog]
        );

    private static IReadOnlyList<Field<AccessOptions>> Doors =>
        [
            new Field<AccessOptions, bool>(
                "insecure-anonymous",
                "Let everybody who can reach the server do everything.",
                Kinds.Switch,
                o => o.InsecureAnonymous,
                (o, v) => o with { InsecureAnonymous = v }
            )
            {
                Flag = new("--insecure-anonymous"),
            },
            new Field<AccessOptions, string>(
                "public-url",
                "How clients call this registry, for example https://registry.example.org.",
                Kinds.Checked("URL", _ => null),
                o => o.PublicUrl,
                (o, v) => o with { PublicUrl = v }
            )
            {
                Flag = new("--public-url"),
            },
            new Field<AccessOptions, IReadOnlyList<string>>(
                "trusted-proxies",
                "Proxies, by address or network, whose X-Forwarded-* headers count.",
                Kinds.Texts,
                o => o.TrustedProxies,
                (o, v) => o with { TrustedProxies = v }
            )
            {
                Flag = new("--trusted-proxy", Placeholder: "ADDRESS"),
            },
            new Field<AccessOptions, string>(
                "tls-cert",
                "Certificate for https addresses, in PEM, with its intermediates after it; read again when it changes.",
                Kinds.File,
                o => o.CertificateFile,
                (o, v) => o with { CertificateFile = v }
            )
            {
                Flag = new("--tls-cert"),
            },
            new Field<AccessOptions, string>(
                "tls-key",
                "The certificate's private key, in PEM.",
                Kinds.File,
                o => o.KeyFile,
                (o, v) => o with { KeyFile = v }
            )
            {
                Flag = new("--tls-key"),
            },
        ];

    private static IReadOnlyList<Field<AccessOptions>> AuditLog =>
        [
            new Field<AccessOptions, string>(
                "audit-log",
                "Where changes are written down: a file, 'stderr' or 'off'; audit.log in the data directory otherwise.",
                new WordKind<string>(
                    "FILE",
                    (text, folder) => text is "stderr" or "off" ? (text, null) : FileName(text, folder),
                    Kinds.File.Schema,
                    Kinds.File.Show
                ),
                o => o.AuditLog,
                (o, v) => o with { AuditLog = v }
            )
            {
                Flag = new("--audit-log"),
            },
            new Field<AccessOptions, long>(
                "audit-max-bytes",
                "Size at which the audit log is set aside for a new one.",
                Kinds.Size(4096, 1L << 40),
                o => o.AuditMaxBytes,
                (o, v) => o with { AuditMaxBytes = v }
            )
            {
                Flag = new("--audit-max-bytes"),
            },
            new Field<AccessOptions, int>(
                "audit-files",
                "Audit logs that were set aside and are kept.",
                Kinds.Whole(0, 1000),
                o => o.AuditFiles,
                (o, v) => o with { AuditFiles = v }
            ),
        ];

    private static (string? Value, string? Fault) FileName(string text, string folder) =>
        Kinds.File.FromWords([text], folder, out var value) is { } fault ? (null, fault) : (value, null);
}
