using Kiln.Server.Configuration;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Access.Policies;

/// <summary>What holds in some repositories, as one word of a policy file says it.</summary>
internal sealed record RepositoryRule<T>(IReadOnlyList<RepositoryPattern> Repositories, T Value)
    where T : struct;

/// <summary>Lists of a policy file whose entries have repositories and a word; the first entry that means one counts.</summary>
internal static class RepositoryRules
{
    /// <summary>Whether recipes that are pushed to them are built.</summary>
    public static readonly IReadOnlyList<(string Word, PushTriggers Value)> Triggers =
    [
        ("off", PushTriggers.Off),
        ("opt-in", PushTriggers.OptIn),
        ("on", PushTriggers.On),
    ];

    /// <summary>When their images are built anew without anybody asking.</summary>
    public static readonly IReadOnlyList<(string Word, RebuildTriggers Value)> Rebuilds =
    [
        ("off", RebuildTriggers.Off),
        ("on-base-change", RebuildTriggers.OnBaseChange),
    ];

    /// <summary>Reads such a list.</summary>
    /// <param name="name">The list's, for example <c>triggers</c>; an entry's member is called as one of them.</param>
    /// <param name="words">The words that there are.</param>
    /// <param name="patterns">Reads a list of repository patterns.</param>
    public static IReadOnlyList<RepositoryRule<T>> Read<T>(
        YamlReader yaml,
        YamlNode node,
        string name,
        IReadOnlyList<(string Word, T Value)> words,
        Func<YamlNode, IReadOnlyList<RepositoryPattern>> patterns
    )
        where T : struct
    {
        var member = name[..^1];
        var rules = new List<RepositoryRule<T>>();
        foreach (var entry in yaml.List(node, name))
        {
            var map = yaml.Map(entry, $"a {member}", "repositories", member);
            if (!map.TryGetValue("repositories", out var repositories) || !map.TryGetValue(member, out var word))
            {
                yaml.Fault(entry, $"a {member} needs repositories and {member}");
                continue;
            }

            var text = yaml.Text(word, member);
            var found = words.Where(w => w.Word == text).ToList();
            if (found.Count == 0)
            {
                yaml.Fault(
                    word,
                    $"'{text}' is no word for {member}; there are {string.Join(", ", words.Select(w => w.Word))}"
                );
                continue;
            }

            rules.Add(new RepositoryRule<T>(patterns(repositories), found[0].Value));
        }

        return rules;
    }

    /// <summary>What the first rule that means a repository says; null where none does.</summary>
    public static T? In<T>(this IReadOnlyList<RepositoryRule<T>> rules, string repository)
        where T : struct =>
        rules.FirstOrDefault(rule => rule.Repositories.Any(pattern => pattern.Matches(repository, null)))?.Value;
}
