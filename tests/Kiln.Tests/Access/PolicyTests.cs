using Kiln.Server;
using Kiln.Server.Access;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Policies;
using Kiln.Server.Configuration;

namespace Kiln.Tests.Access;

/// <summary>The policy file by itself: what it means, and what is said of a wrong one.</summary>
public sealed class PolicyTests
{
    [Theory]
    [InlineData("**", "a", true)]
    [InlineData("**", "a/b/c", true)]
    [InlineData("a/**", "a/b", true)]
    [InlineData("a/**", "a/b/c", true)]
    [InlineData("a/**", "a", false)]
    [InlineData("a/**", "ab/c", false)]
    [InlineData("a/*", "a/b", true)]
    [InlineData("a/*", "a/b/c", false)]
    [InlineData("a/b-*", "a/b-1", true)]
    [InlineData("a/b-*", "a/b", false)]
    [InlineData("a/*-x-*", "a/1-x-2", true)]
    [InlineData("a/**/z", "a/z", true)]
    [InlineData("a/**/z", "a/b/c/z", true)]
    [InlineData("a/**/z", "a/b/c", false)]
    [InlineData("*/base", "team/base", true)]
    [InlineData("a", "a", true)]
    [InlineData("a", "b", false)]
    [InlineData("users/{user}/**", "users/alice/x", true)]
    [InlineData("users/{user}/**", "users/bob/x", false)]
    [InlineData("users/{user}", "users/alice", true)]
    public void A_pattern_means_these_repositories(string pattern, string repository, bool matches) =>
        Assert.Equal(matches, Pattern(pattern).Matches(repository, "alice"));

    [Theory]
    [InlineData(null)]
    [InlineData("Alice")]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData("*")]
    [InlineData("**")]
    public void A_name_that_can_be_no_component_owns_no_repository(string? user)
    {
        Assert.False(Pattern("users/{user}/**").Matches("users/a/b/c", user));
        Assert.False(Pattern("users/{user}/**").Matches("users/x/y", user));
    }

    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData("a//b")]
    [InlineData("A")]
    [InlineData("a/**/b/**")]
    [InlineData("a**b/c{x}")]
    [InlineData("a b")]
    public void A_wrong_pattern_is_refused(string text) => Assert.False(RepositoryPattern.TryParse(text, out _, out _));

    [Fact]
    public void All_faults_are_told_at_once_each_with_its_line()
    {
        const string text = """
            htpaswd: users
            issuers:
              - { name: token, url: "http://login.example.org", audience: kiln, algorithms: [HS256, none] }
              - { name: gitlab }
            groups:
              staff: [alice, "nowhere:bob", { issuer: nowhere, claim: a, value: b }]
            rules:
              - { who: [group:stuff], repositories: "Team/**", actions: [pul] }
              - { who: alice, actions: pull }
            limits:
              requests-per-second: many
            """;

        var policy = PolicyReader.Read(text, "/etc/kiln/policy.yaml", out var faults);

        Assert.Null(policy);
        (int Line, string Part)[] expected =
        [
            (1, "htpaswd"),
            (3, "'token' cannot name an issuer"),
            (3, "https://"),
            (3, "'HS256' is not allowed"),
            (3, "'none' is not allowed"),
            (4, "needs name, url and audience"),
            (6, "no issuer 'nowhere'"),
            (6, "no issuer 'nowhere'"),
            (8, "no group 'stuff'"),
            (8, "'Team/**'"),
            (8, "'pul' is no action"),
            (9, "needs who, repositories and actions"),
            (11, "whole number"),
        ];
        Assert.Equal(expected.Select(e => e.Line), faults.Select(f => f.Line));
        foreach (var (line, part) in expected)
        {
            Assert.Contains(
                faults,
                f =>
                    f.Line == line
                    && f.Message.Contains(part)
                    && f.ToString().StartsWith($"/etc/kiln/policy.yaml:{line}: ")
            );
        }
    }

    [Fact]
    public void Of_entries_about_rebuilding_the_first_that_covers_counts()
    {
        const string text = """
            rules:
              - { who: alice, repositories: "**", actions: pull }
            rebuilds:
              - { repositories: "ci/old/**", rebuild: "off" }
              - { repositories: ["ci/**", "hpc/**"], rebuild: on-base-change }
            """;

        var policy = PolicyReader.Read(text, "policy.yaml", out var none);
        PolicyReader.Read(text.Replace("on-base-change", "sometimes", StringComparison.Ordinal), "p", out var faults);

        Assert.Empty(none);
        Assert.Equal(
            [RebuildTriggers.Off, RebuildTriggers.OnBaseChange, null],
            new[] { "ci/old/app", "ci/app", "team/app" }.Select(policy!.RebuildIn)
        );
        Assert.Contains("'sometimes' is no word for rebuild", Assert.Single(faults).Message);
    }

    [Theory]
    [InlineData("rules: [")]
    [InlineData("a: b\na: c")]
    [InlineData("rules: &x [*x]")]
    [InlineData("- a")]
    [InlineData("--- {}\n--- {}")]
    [InlineData("just words")]
    [InlineData("\0\u0001")]
    public void What_is_no_policy_is_refused_with_a_reason(string text)
    {
        Assert.Null(PolicyReader.Read(text, "p", out var faults));
        Assert.NotEmpty(faults);
    }

    [Fact]
    public void Names_of_one_issuer_never_mean_somebody_of_another()
    {
        var policy = Read(
            """
            issuers:
              - { name: one, url: "https://one.example", audience: kiln }
              - { name: two, url: "https://two.example", audience: kiln }
            rules:
              - { who: "*", repositories: htpasswd, actions: pull }
              - { who: "one:*", repositories: one, actions: pull }
              - { who: "two:carol", repositories: two, actions: pull }
            """
        );
        var carol = new Principal("one:carol") { Kind = PrincipalKind.Oidc, User = "carol" };

        Assert.Equal(Rights.Pull, policy.RightsOf(carol, "one"));
        Assert.Equal(Rights.None, policy.RightsOf(carol, "two"));
        Assert.Equal(Rights.None, policy.RightsOf(carol, "htpasswd"));
        Assert.Equal(Rights.None, policy.RightsOf(Principal.Anonymous, "htpasswd"));
    }

    [Fact]
    public void Passwords_that_are_not_bcrypt_are_refused_by_name()
    {
        var faults = new List<FileFault>();

        Htpasswd.Parse(
            $"# people\n{AccessServer.Htpasswd("alice")}bob:$apr1$abc$def\nsecret-without-colon\n{AccessServer.Htpasswd("alice")}dave:$2y$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
            "users",
            faults
        );

        Assert.Equal([3, 4, 5, 6], faults.Select(f => f.Line));
        Assert.Contains("htpasswd -B users bob", faults[0].Message);
        Assert.DoesNotContain("secret-without-colon", faults[1].Message);
    }

    [Fact]
    public void Explain_names_the_rule_that_decides()
    {
        using var file = new PolicyFile(
            """
            issuers:
              - { name: gitlab, url: "https://gitlab.example", audience: kiln }
            groups:
              hpc: [{ issuer: gitlab, claim: groups, value: "hpc-*" }]
            rules:
              - { who: everybody, repositories: "public/**", actions: pull }
              - { who: group:hpc, repositories: "hpc/**", actions: [pull, push] }
            """
        );

        var (allowed, lines) = PolicyReport.Explain(file.Path, "gitlab:carol", "hpc/mpi", "push", ["groups=hpc-staff"]);
        Assert.True(allowed);
        Assert.Equal("yes: gitlab:carol may push in hpc/mpi", lines[0]);
        Assert.Contains(lines, l => l.StartsWith($"{file.Path}:7 grants") && l.Contains("the group 'hpc'"));

        (allowed, lines) = PolicyReport.Explain(file.Path, "gitlab:dave", "hpc/mpi", "push", ["groups=bio"]);
        Assert.False(allowed);
        Assert.Contains(lines, l => l.Contains(":7 grants push") && l.Contains("but not to gitlab:dave"));

        (allowed, lines) = PolicyReport.Explain(file.Path, "anonymous", "public/x", "push", []);
        Assert.False(allowed);
        Assert.Contains(lines, l => l.Contains(":6 is about anonymous") && l.Contains("grants only pull"));
    }

    private static RepositoryPattern Pattern(string text)
    {
        Assert.True(RepositoryPattern.TryParse(text, out var pattern, out var fault), fault);
        return pattern;
    }

    private static Policy Read(string text)
    {
        var policy = PolicyReader.Read(text, "policy.yaml", out var faults);
        Assert.Empty(faults);
        return policy!;
    }

    private sealed class PolicyFile : IDisposable
    {
        public PolicyFile(string text)
        {
            Path = System.IO.Path.GetTempFileName();
            File.WriteAllText(Path, text);
        }

        public string Path { get; }

        public void Dispose() => File.Delete(Path);
    }
}
