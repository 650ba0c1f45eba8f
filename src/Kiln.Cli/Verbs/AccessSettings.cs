using System.CommandLine;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln serve</c> that say who is let in.</summary>
internal sealed class AccessSettings
{
    /// <summary>Names the policy file where <c>--policy</c> is not given.</summary>
    public const string PolicyVariable = "KILN_POLICY";

    private readonly Option<string?> _policy = PolicyOption();
    private readonly Option<bool> _anonymous = new("--insecure-anonymous")
    {
        Description = "Let everybody who can reach the server do everything.",
    };
    private readonly Option<string?> _publicUrl = new("--public-url")
    {
        Description = "How clients call this registry, for example https://registry.example.org.",
        HelpName = "URL",
    };
    private readonly Option<string[]> _proxies = new("--trusted-proxy")
    {
        Description = "A proxy, address or network, whose X-Forwarded-* headers count.",
        HelpName = "ADDRESS",
    };
    private readonly Option<string?> _certificate = new("--tls-cert")
    {
        Description = "Certificate for https addresses, in PEM; read again when it changes.",
        HelpName = "FILE",
    };
    private readonly Option<string?> _key = new("--tls-key")
    {
        Description = "The certificate's private key, in PEM.",
        HelpName = "FILE",
    };
    private readonly Option<string?> _audit = new("--audit-log")
    {
        Description = "Where changes are written down: a file, 'stderr' or 'off'; audit.log in --data otherwise.",
        HelpName = "FILE",
    };
    private readonly Option<long> _auditBytes = new("--audit-max-bytes")
    {
        Description = "Size at which the audit log is set aside for a new one; the last five are kept.",
        HelpName = "BYTES",
        DefaultValueFactory = _ => 64L << 20,
    };
    private readonly Shell _shell;

    private AccessSettings(Shell shell) => _shell = shell;

    public static AccessSettings On(Command command, Shell shell)
    {
        var settings = new AccessSettings(shell);
        Option[] options =
        [
            settings._policy,
            settings._anonymous,
            settings._publicUrl,
            settings._proxies,
            settings._certificate,
            settings._key,
            settings._audit,
            settings._auditBytes,
        ];
        foreach (var option in options)
        {
            command.Options.Add(option);
        }

        return settings;
    }

    public static Option<string?> PolicyOption() =>
        new("--policy")
        {
            Description = $"The file that says who may do what; ${PolicyVariable} otherwise.",
            HelpName = "FILE",
        };

    /// <summary>The policy's file; null where neither the option nor the variable names one.</summary>
    public static string? PolicyFile(ParseResult parsed, Option<string?> option, Shell shell) =>
        parsed.GetValue(option) ?? (shell.Variable(PolicyVariable) is { Length: > 0 } named ? named : null);

    public AccessOptions Apply(ParseResult parsed) =>
        new()
        {
            PolicyFile = PolicyFile(parsed, _policy, _shell) is { } file ? Path.GetFullPath(file) : null,
            InsecureAnonymous = parsed.GetValue(_anonymous),
            PublicUrl = parsed.GetValue(_publicUrl),
            TrustedProxies = parsed.GetValue(_proxies) ?? [],
            CertificateFile = parsed.GetValue(_certificate),
            KeyFile = parsed.GetValue(_key),
            AuditLog = parsed.GetValue(_audit),
            AuditMaxBytes = Math.Max(4096, parsed.GetValue(_auditBytes)),
        };
}
