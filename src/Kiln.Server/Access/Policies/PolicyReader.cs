using System.Net;
using System.Text.RegularExpressions;
using Kiln.Server.Configuration;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Access.Policies;

/// <summary>Reads the policy file. All that is wrong with it is told at once, each with its line.</summary>
internal sealed partial class PolicyReader
{
    private const string Everybody = "everybody";
    private const string LoggedIn = "authenticated";
    private const string GroupPrefix = "group:";
    private const int MaxSkewSeconds = 600;

    /// <summary>Signatures by a public key; a shared secret or none at all proves nothing about an issuer.</summary>
    private static readonly string[] KnownAlgorithms =
    [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
    ];

    // Names of issuers that would make principals look like others.
    private static readonly string[] ReservedNames = ["uid", "token", "group"];

    private readonly string _file;
    private readonly List<FileFault> _faults = [];
    private readonly YamlReader _yaml;

    private PolicyReader(string file)
    {
        _file = file;
        _yaml = new YamlReader(file, _faults);
    }

    /// <summary>Reads a policy.</summary>
    /// <param name="file">Its path, for messages and for files that it names.</param>
    /// <param name="faults">What is wrong or suspicious, in the order of lines.</param>
    /// <returns>Null where something is wrong.</returns>
    public static Policy? Read(string text, string file, out IReadOnlyList<FileFault> faults)
    {
        var reader = new PolicyReader(file);
        var policy = reader._yaml.Load(text) is { } root ? reader.Policy(root) : null;
        faults = [.. reader._faults.OrderBy(f => f.Line)];
        return faults.Any(f => !f.IsWarning) ? null : policy;
    }

    private Policy Policy(YamlNode root)
    {
        var map = _yaml.Map(
            root,
            "the policy",
            "htpasswd",
            "issuers",
            "groups",
            "rules",
            "limits",
            "triggers",
            "rebuilds"
        );
        var issuers = map.TryGetValue("issuers", out var i) ? Issuers(i) : [];
        var groups = new Dictionary<string, IReadOnlyList<Member>>(StringComparer.Ordinal);
        if (map.TryGetValue("groups", out var g))
        {
            ReadGroups(g, issuers, groups);
        }

        var rules = new List<PolicyRule>();
        foreach (var node in map.TryGetValue("rules", out var r) ? _yaml.List(r, "rules") : [])
        {
            if (Rule(node, issuers, groups) is { } rule)
            {
                rules.Add(rule);
            }
        }

        if (rules.Count == 0 && _faults.Count == 0)
        {
            _yaml.Warn(null, "has no rules, so nobody may do anything");
        }

        var folder = Path.GetDirectoryName(Path.GetFullPath(_file))!;
        return new Policy
        {
            HtpasswdFile =
                map.TryGetValue("htpasswd", out var h) && _yaml.Text(h, "htpasswd") is { } name
                    ? Path.Combine(folder, name)
                    : null,
            Issuers = issuers,
            Groups = groups,
            Rules = rules,
            Triggers = map.TryGetValue("triggers", out var t)
                ? RepositoryRules.Read(_yaml, t, "triggers", RepositoryRules.Triggers, Patterns)
                : [],
            Rebuilds = map.TryGetValue("rebuilds", out var b)
                ? RepositoryRules.Read(_yaml, b, "rebuilds", RepositoryRules.Rebuilds, Patterns)
                : [],
            Limits = map.TryGetValue("limits", out var l) ? PolicyLimits.Read(_yaml, l) : new PolicyLimits(),
        };
    }

    private List<PolicyIssuer> Issuers(YamlNode node)
    {
        var issuers = new List<PolicyIssuer>();
        foreach (var entry in _yaml.List(node, "issuers"))
        {
            if (Issuer(entry) is not { } issuer)
            {
                continue;
            }

            if (issuers.Exists(i => i.Name == issuer.Name || i.Url == issuer.Url))
            {
                _yaml.Fault(entry, $"the issuer '{issuer.Name}' has the name or the url of an earlier one");
            }

            issuers.Add(issuer);
        }

        return issuers;
    }

    private PolicyIssuer? Issuer(YamlNode node)
    {
        var map = _yaml.Map(node, "an issuer", "name", "url", "audience", "user", "algorithms", "clock-skew-seconds");
        if (
            !map.TryGetValue("name", out var name)
            || !map.TryGetValue("url", out var url)
            || !map.TryGetValue("audience", out var audience)
        )
        {
            _yaml.Fault(node, "an issuer needs name, url and audience");
            return null;
        }

        var issuer = new PolicyIssuer
        {
            Name = _yaml.Text(name, "an issuer's name") ?? "",
            Url = _yaml.Text(url, "an issuer's url") ?? "",
            Audiences = _yaml.Texts(audience, "audience"),
        };
        if (!IssuerName().IsMatch(issuer.Name) || ReservedNames.Contains(issuer.Name))
        {
            _yaml.Fault(
                name,
                $"'{issuer.Name}' cannot name an issuer; use lower-case letters, digits and -, and none of {string.Join(", ", ReservedNames)}"
            );
        }

        if (!IsSafe(issuer.Url))
        {
            _yaml.Fault(url, $"the issuer's url '{issuer.Url}' must begin with https:// (http:// on loopback only)");
        }

        if (map.TryGetValue("user", out var user))
        {
            issuer = issuer with { UserClaim = _yaml.Text(user, "user") ?? "" };
        }

        if (map.TryGetValue("algorithms", out var algorithms))
        {
            issuer = issuer with { Algorithms = Algorithms(algorithms) };
        }

        return map.TryGetValue("clock-skew-seconds", out var skew)
            ? issuer with
            {
                ClockSkew = TimeSpan.FromSeconds(_yaml.Number(skew, "clock-skew-seconds", MaxSkewSeconds, 0)),
            }
            : issuer;
    }

    private IReadOnlyList<string> Algorithms(YamlNode node)
    {
        var algorithms = _yaml.Texts(node, "algorithms");
        foreach (var unknown in algorithms.Except(KnownAlgorithms, StringComparer.Ordinal))
        {
            _yaml.Fault(node, $"the algorithm '{unknown}' is not allowed; use {string.Join(", ", KnownAlgorithms)}");
        }

        return algorithms;
    }

    private void ReadGroups(YamlNode node, List<PolicyIssuer> issuers, Dictionary<string, IReadOnlyList<Member>> groups)
    {
        if (node is not YamlMappingNode mapping)
        {
            _yaml.Fault(node, "groups must be a mapping of names to lists of members");
            return;
        }

        foreach (var (key, value) in mapping)
        {
            if (_yaml.Text(key, "a group's name") is { } name)
            {
                groups[name] =
                [
                    .. _yaml.List(value, $"group '{name}'").Select(m => GroupMember(m, issuers)).OfType<Member>(),
                ];
            }
        }
    }

    private Member? GroupMember(YamlNode node, List<PolicyIssuer> issuers)
    {
        if (node is not YamlMappingNode)
        {
            return _yaml.Text(node, "a member") is not { } text ? null
                : text is Everybody or LoggedIn || text.StartsWith(GroupPrefix, StringComparison.Ordinal)
                    ? Wrong(node, $"'{text}' cannot be in a group; name it in the rule's who")
                : Named(node, text, issuers);
        }

        var map = _yaml.Map(node, "a member", "issuer", "claim", "value");
        if (map.Count < 3)
        {
            return Wrong(node, "a member by claim needs issuer, claim and value");
        }

        var (issuer, claim, value) = (
            _yaml.Text(map["issuer"], "issuer"),
            _yaml.Text(map["claim"], "claim"),
            _yaml.Text(map["value"], "value")
        );
        return issuer is null || claim is null || value is null ? null
            : !issuers.Exists(i => i.Name == issuer) ? Wrong(node, $"there is no issuer '{issuer}' in this file")
            : new Member.Claiming(issuer, claim, value);
    }

    private PolicyRule? Rule(
        YamlNode node,
        List<PolicyIssuer> issuers,
        Dictionary<string, IReadOnlyList<Member>> groups
    )
    {
        var map = _yaml.Map(node, "a rule", "who", "repositories", "actions", "requesters");
        if (
            !map.TryGetValue("who", out var whoever)
            || !map.TryGetValue("repositories", out var repositories)
            || !map.TryGetValue("actions", out var actions)
        )
        {
            _yaml.Fault(node, "a rule needs who, repositories and actions");
            return null;
        }

        var who = Members(whoever, "who", issuers, groups);
        var grant = new Grant(Patterns(repositories), Actions(actions))
        {
            Requesters = map.TryGetValue("requesters", out var asking)
                ? Members(asking, "requesters", issuers, groups)
                : null,
        };
        if (grant.Requesters is not null && !grant.Rights.HasFlag(Rights.Lease))
        {
            _yaml.Fault(node, "requesters says for whom a build node builds; it stands beside the action lease only");
        }

        if (grant.Rights != Rights.Pull && who.Exists(m => m is Member.Everybody))
        {
            _yaml.Warn(node, "lets everybody, logged in or not, do more than pull");
        }

        return new PolicyRule(YamlReader.LineOf(node), who, grant);
    }

    private List<Member> Members(
        YamlNode node,
        string key,
        List<PolicyIssuer> issuers,
        Dictionary<string, IReadOnlyList<Member>> groups
    ) =>
        [
            .. _yaml
                .List(node, key)
                .Select(e => _yaml.Text(e, $"an entry of {key}") is { } text ? Who(e, text, issuers, groups) : null)
                .OfType<Member>(),
        ];

    private Member? Who(
        YamlNode node,
        string text,
        List<PolicyIssuer> issuers,
        Dictionary<string, IReadOnlyList<Member>> groups
    )
    {
        if (text is Everybody or LoggedIn)
        {
            return text == Everybody ? new Member.Everybody() : new Member.LoggedIn();
        }

        if (!text.StartsWith(GroupPrefix, StringComparison.Ordinal))
        {
            return Named(node, text, issuers);
        }

        var group = text[GroupPrefix.Length..];
        return groups.ContainsKey(group)
            ? new Member.InGroup(group)
            : Wrong(node, $"there is no group '{group}' in this file");
    }

    private Member? Named(YamlNode node, string text, List<PolicyIssuer> issuers)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
        {
            return new Member.Named(Issuer: null, text);
        }

        var issuer = text[..colon];
        return issuer switch
        {
            "token" => Wrong(node, "machine tokens get their rights when they are issued (kiln token issue), not here"),
            "uid" => Wrong(node, "users of this machine get rights by a password or a token, as everybody does"),
            _ when !issuers.Exists(i => i.Name == issuer) => Wrong(node, $"there is no issuer '{issuer}' in this file"),
            _ => new Member.Named(issuer, text[(colon + 1)..]),
        };
    }

    private List<RepositoryPattern> Patterns(YamlNode node)
    {
        var patterns = new List<RepositoryPattern>();
        foreach (var entry in _yaml.List(node, "repositories"))
        {
            if (_yaml.Text(entry, "a repository pattern") is not { } text)
            {
                continue;
            }

            if (RepositoryPattern.TryParse(text, out var pattern, out var fault))
            {
                patterns.Add(pattern);
            }
            else
            {
                _yaml.Fault(entry, $"the pattern '{text}' {fault}");
            }
        }

        return patterns;
    }

    private Rights Actions(YamlNode node)
    {
        var rights = Rights.None;
        foreach (var entry in _yaml.List(node, "actions"))
        {
            if (_yaml.Text(entry, "an action") is not { } text)
            {
                continue;
            }

            if (RightNames.Parse(text) is { } right)
            {
                rights |= right.Complete();
            }
            else
            {
                _yaml.Fault(entry, $"'{text}' is no action; there are {RightNames.List}");
            }
        }

        return rights;
    }

    private Member? Wrong(YamlNode node, string message)
    {
        _yaml.Fault(node, message);
        return null;
    }

    private static bool IsSafe(string url) =>
        Uri.TryCreate(url, UriKind.Absolute, out var uri)
        && (
            uri.Scheme == Uri.UriSchemeHttps
            || (uri.Scheme == Uri.UriSchemeHttp && IPAddress.TryParse(uri.Host, out var ip) && IPAddress.IsLoopback(ip))
        );

    [GeneratedRegex(@"\A[a-z0-9]+(-[a-z0-9]+)*\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex IssuerName();
}
