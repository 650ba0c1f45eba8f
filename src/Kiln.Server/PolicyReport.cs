using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Policies;
using Kiln.Server.Configuration;

namespace Kiln.Server;

/// <summary>What can be said of a policy file without a server.</summary>
public static class PolicyReport
{
    /// <summary>What is wrong with a file, and what is suspicious in it; each line names file and line.</summary>
    public static (IReadOnlyList<string> Faults, IReadOnlyList<string> Warnings) Check(string file)
    {
        var faults = new List<FileFault>();
        PolicyFiles.Load(file, out _, faults);
        return (
            [.. faults.Where(f => !f.IsWarning).Select(f => f.ToString())],
            [.. faults.Where(f => f.IsWarning).Select(f => f.ToString())]
        );
    }

    /// <summary>Whether somebody may do something, and the rules that decide it.</summary>
    /// <param name="user">A user of the htpasswd file, <c>ISSUER:USER</c>, or <c>anonymous</c>.</param>
    /// <param name="claims">Claims in that user's token, as <c>NAME=VALUE</c>.</param>
    /// <exception cref="InvalidDataException">The file is wrong, or what is asked makes no sense.</exception>
    public static (bool Allowed, IReadOnlyList<string> Lines) Explain(
        string file,
        string user,
        string repository,
        string action,
        IReadOnlyList<string> claims
    )
    {
        var faults = new List<FileFault>();
        if (PolicyFiles.Load(file, out _, faults) is not { } loaded)
        {
            throw new InvalidDataException(
                $"the policy is wrong:\n{string.Join('\n', faults.Where(f => !f.IsWarning))}"
            );
        }

        var right =
            RightNames.Parse(action)
            ?? throw new InvalidDataException($"'{action}' is no action; there are {RightNames.List}");
        if (!RepositoryName.TryParse(repository, out _))
        {
            throw new InvalidDataException($"'{repository}' is not a repository name");
        }

        var principal = PrincipalOf(user, loaded.Policy, claims);
        var lines = new List<string>();
        if (principal.Kind == PrincipalKind.User && loaded.Htpasswd.Find(user) is null)
        {
            lines.Add(
                $"note: '{user}' is not in {loaded.Policy.HtpasswdFile ?? "any htpasswd file"}, so cannot log in"
            );
        }

        if (principal.Groups.Count > 0)
        {
            lines.Add($"by these claims {principal.Name} is in: {string.Join(", ", principal.Groups)}");
        }

        var allowed = Decide(loaded.Policy, file, principal, repository, right, action, lines);
        return (allowed, lines);
    }

    private static bool Decide(
        Policy policy,
        string file,
        Principal principal,
        string repository,
        Rights right,
        string action,
        List<string> lines
    )
    {
        var near = new List<string>();
        foreach (var rule in policy.Rules)
        {
            var where = $"{file}:{rule.Line}";
            var who = policy.Means(rule, principal);
            var what = rule.Grant.Rights.HasFlag(right);
            var pattern = rule.Grant.Repositories.FirstOrDefault(p => p.Matches(repository, principal.User));
            if (who && what && pattern is not null)
            {
                lines.Insert(0, $"yes: {principal.Name} may {action} in {repository}");
                lines.Add(
                    $"{where} grants {string.Join(", ", RightNames.Of(rule.Grant.Rights))} in '{pattern}' to {Whom(policy, rule, principal)}"
                );
                return true;
            }

            if (who && pattern is not null)
            {
                near.Add(
                    $"{where} is about {principal.Name} and {repository}, but grants only {string.Join(", ", RightNames.Of(rule.Grant.Rights))}"
                );
            }
            else if (who && what)
            {
                near.Add(
                    $"{where} lets {principal.Name} {action}, but only in {string.Join(", ", rule.Grant.Repositories)}"
                );
            }
            else if (what && pattern is not null)
            {
                near.Add($"{where} grants {action} in '{pattern}', but not to {principal.Name}");
            }
        }

        lines.Insert(0, $"no: {principal.Name} may not {action} in {repository}");
        lines.AddRange(near.Count > 0 ? near : ["no rule comes near: what is not granted is refused"]);
        return false;
    }

    private static string Whom(Policy policy, PolicyRule rule, Principal principal) =>
        rule.Who.First(m => policy.Means(rule with { Who = [m] }, principal)) switch
        {
            Member.Everybody => "everybody",
            Member.LoggedIn => "everybody who is logged in",
            Member.InGroup group => $"the group '{group.Group}'",
            Member.Named { Issuer: null } named => $"'{named.Pattern}'",
            Member.Named named => $"'{named.Issuer}:{named.Pattern}'",
            var other => other.ToString(),
        };

    private static Principal PrincipalOf(string user, Policy policy, IReadOnlyList<string> claims)
    {
        if (user == Principal.Anonymous.Name)
        {
            return Principal.Anonymous;
        }

        var colon = user.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
        {
            return new Principal(user) { Kind = PrincipalKind.User, User = user };
        }

        var issuer = user[..colon];
        if (!policy.Issuers.Any(i => i.Name == issuer))
        {
            throw new InvalidDataException($"there is no issuer '{issuer}' in this file");
        }

        var values = claims.Select(c => c.Split('=', 2)).Where(c => c.Length == 2).ToLookup(c => c[0], c => c[1]);
        return new Principal(user)
        {
            Kind = PrincipalKind.Oidc,
            User = user[(colon + 1)..],
            Groups = policy.GroupsOf(issuer, claim => values[claim]),
        };
    }
}
