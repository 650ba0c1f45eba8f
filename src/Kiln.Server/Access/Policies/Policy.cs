using Kiln.Oci;
using Kiln.Server.Configuration;

namespace Kiln.Server.Access.Policies;

/// <summary>Rights in the repositories of some patterns.</summary>
internal sealed record Grant(IReadOnlyList<RepositoryPattern> Repositories, Rights Rights)
{
    /// <summary>For whom a build node may build by this grant; null for everybody.</summary>
    public IReadOnlyList<Member>? Requesters { get; init; }

    public bool Covers(string repository, string? user) => Repositories.Any(p => p.Matches(repository, user));
}

/// <summary>Whom a rule or a group means.</summary>
internal abstract record Member
{
    /// <summary>Everybody, logged in or not.</summary>
    public sealed record Everybody : Member;

    /// <summary>Everybody who is logged in.</summary>
    public sealed record LoggedIn : Member;

    /// <summary>
    /// People by name, <c>alice</c> or <c>gitlab:carol</c>; <c>*</c> stands for any characters. Nobody of one issuer is
    /// ever meant by a name of another.
    /// </summary>
    public sealed record Named(string? Issuer, string Pattern) : Member
    {
        public bool Means(Principal principal) =>
            principal.Kind switch
            {
                PrincipalKind.User => Issuer is null && RepositoryPattern.Glob(principal.Name, Pattern),
                PrincipalKind.Oidc => Issuer is not null
                    && principal.Name.StartsWith(Issuer + ":", StringComparison.Ordinal)
                    && RepositoryPattern.Glob(principal.Name.AsSpan(Issuer.Length + 1), Pattern),
                _ => false,
            };
    }

    /// <summary>A group of the same file.</summary>
    public sealed record InGroup(string Group) : Member;

    /// <summary>Whoever has a token of an issuer with this value in a claim; <c>*</c> stands for any characters.</summary>
    public sealed record Claiming(string Issuer, string Claim, string Value) : Member;
}

/// <summary>Some principals get some rights in some repositories.</summary>
/// <param name="Line">Where it stands in the file, for explanations; from 1.</param>
internal sealed record PolicyRule(int Line, IReadOnlyList<Member> Who, Grant Grant);

/// <summary>An OpenID Connect issuer whose tokens are accepted.</summary>
internal sealed record PolicyIssuer
{
    /// <summary>Stands before the names of its users: <c>gitlab:carol</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The <c>iss</c> of its tokens, below which its discovery document is.</summary>
    public required string Url { get; init; }

    /// <summary>One of these has to be in a token's <c>aud</c>.</summary>
    public required IReadOnlyList<string> Audiences { get; init; }

    /// <summary>The claim that names the user.</summary>
    public string UserClaim { get; init; } = "sub";

    public IReadOnlyList<string> Algorithms { get; init; } = ["RS256", "ES256"];

    /// <summary>How far clocks may be apart.</summary>
    public TimeSpan ClockSkew { get; init; } = TimeSpan.FromMinutes(1);
}

/// <summary>
/// Who may do what: everything that is not granted is refused, and rules only ever add. Immutable; a changed file is
/// another policy.
/// </summary>
internal sealed record Policy
{
    /// <summary>Everybody may do everything (<c>--insecure-anonymous</c>).</summary>
    public static readonly Policy Everything = new()
    {
        Rules =
        [
            new PolicyRule(
                0,
                [new Member.Everybody()],
                new Grant([RepositoryPattern.Everything], Rights.All | Rights.Lease)
            ),
        ],
    };

    /// <summary>The htpasswd file, as a full path; null where nobody has a password.</summary>
    public string? HtpasswdFile { get; init; }
    public IReadOnlyList<PolicyIssuer> Issuers { get; init; } = [];
    public IReadOnlyDictionary<string, IReadOnlyList<Member>> Groups { get; init; } =
        new Dictionary<string, IReadOnlyList<Member>>();
    public IReadOnlyList<PolicyRule> Rules { get; init; } = [];
    public PolicyLimits Limits { get; init; } = new();
    public IReadOnlyList<RepositoryRule<PushTriggers>> Triggers { get; init; } = [];
    public IReadOnlyList<RepositoryRule<RebuildTriggers>> Rebuilds { get; init; } = [];

    /// <summary>Whether recipes pushed to a repository are built, by the first entry that covers it; null where none does.</summary>
    public PushTriggers? TriggerIn(string repository) => Triggers.In(repository);

    /// <summary>When a repository's images are built anew, by the first entry that covers it; null where none does.</summary>
    public RebuildTriggers? RebuildIn(string repository) => Rebuilds.In(repository);

    /// <summary>What a principal may do in a repository, whether that exists or not.</summary>
    public Rights RightsOf(Principal principal, string repository)
    {
        if (principal.Kind == PrincipalKind.LocalUser)
        {
            return Rights.All | Rights.Lease;
        }

        var rights = Rights.None;
        foreach (var grant in GrantsOf(principal))
        {
            // What is there already need not be looked for again.
            if ((grant.Rights & ~rights) != Rights.None && grant.Covers(repository, principal.User))
            {
                rights |= grant.Rights;
            }
        }

        return rights & principal.Ceiling;
    }

    /// <summary>Whether a principal may manage the registry itself: <c>admin</c> for <c>**</c>.</summary>
    public bool IsAdmin(Principal principal) =>
        principal.Kind == PrincipalKind.LocalUser
        || GrantsOf(principal)
            .Any(g => (g.Rights & principal.Ceiling).HasFlag(Rights.Admin) && g.Repositories.Any(p => p.IsEverything));

    /// <summary>Whether there is any repository that a principal may do anything in.</summary>
    public bool MayAnything(Principal principal) =>
        principal.Kind == PrincipalKind.LocalUser || GrantsOf(principal).Any();

    /// <summary>The grants that a principal has, wherever they are.</summary>
    public IEnumerable<Grant> GrantsOf(Principal principal) =>
        principal.Grants ?? Rules.Where(r => Means(r, principal)).Select(r => r.Grant);

    /// <summary>Whether a rule is about a principal.</summary>
    public bool Means(PolicyRule rule, Principal principal)
    {
        foreach (var member in rule.Who)
        {
            if (Means(member, principal))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The groups that claims of an issuer's token put its bearer into.</summary>
    /// <param name="claims">All values of a claim.</param>
    public IReadOnlyList<string> GroupsOf(string issuer, Func<string, IEnumerable<string>> claims) =>
        [
            .. Groups
                .Where(group =>
                    group
                        .Value.OfType<Member.Claiming>()
                        .Any(m => m.Issuer == issuer && claims(m.Claim).Any(v => RepositoryPattern.Glob(v, m.Value)))
                )
                .Select(group => group.Key),
        ];

    /// <summary>Whether an entry of a rule or a group means a principal.</summary>
    public bool IsMeant(Member member, Principal principal) => Means(member, principal);

    private bool Means(Member member, Principal principal) =>
        member switch
        {
            Member.Everybody => true,
            Member.LoggedIn => principal.Kind != PrincipalKind.Anonymous,
            Member.Named named => named.Means(principal),
            Member.InGroup group => principal.Groups.Contains(group.Group)
                || (Groups.TryGetValue(group.Group, out var members) && members.Any(m => Means(m, principal))),
            _ => false,
        };
}
