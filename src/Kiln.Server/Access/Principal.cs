using Kiln.Server.Access.Policies;

namespace Kiln.Server.Access;

/// <summary>How it is known who somebody is.</summary>
internal enum PrincipalKind
{
    /// <summary>It is not known.</summary>
    Anonymous,

    /// <summary>The kernel names the user of a loopback connection's other end.</summary>
    LocalUser,

    /// <summary>A password in the htpasswd file.</summary>
    User,

    /// <summary>A token of a trusted OpenID Connect issuer.</summary>
    Oidc,

    /// <summary>A machine token (<c>kiln token issue</c>).</summary>
    Machine,

    /// <summary>A build node, for the one lease whose credential it presents.</summary>
    Lease,
}

/// <summary>Who a request comes from.</summary>
/// <param name="Name">
/// Kept with what the request creates: <c>uid:1000</c>, <c>alice</c>, <c>gitlab:carol</c>, <c>token:ci</c>,
/// <c>anonymous</c>.
/// </param>
internal sealed record Principal(string Name)
{
    public static readonly Principal Anonymous = new("anonymous");

    public PrincipalKind Kind { get; init; } = PrincipalKind.Anonymous;

    /// <summary>The name without its issuer, which <c>{user}</c> in a pattern stands for; null where there is none.</summary>
    public string? User { get; init; }

    /// <summary>Groups of the policy that the issuer's claims put the principal into, beside those that name it.</summary>
    public IReadOnlyList<string> Groups { get; init; } = [];

    /// <summary>What a machine token allows, all of it; null for everybody else, who gets what the policy grants.</summary>
    public IReadOnlyList<Grant>? Grants { get; init; }

    /// <summary>The most that it may do, whatever is granted: a build only reads.</summary>
    public Rights Ceiling { get; init; } = Rights.All | Rights.Lease;

    /// <summary>Id of the machine token.</summary>
    public string? TokenId { get; init; }

    /// <summary>Fingerprint of the htpasswd entry that was checked, so that a changed one ends what was given for it.</summary>
    public string? Credential { get; init; }
}
