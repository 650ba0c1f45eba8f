using Kiln.Oci;
using Kiln.Server.Configuration;

namespace Kiln.Server.Registry;

/// <summary>Repositories by pattern, and tags in them, as rules of an operator name them.</summary>
internal sealed class NamePatterns
{
    private readonly List<RepositoryPattern> _repositories = [];
    private readonly List<string> _tags = [];

    private NamePatterns() { }

    /// <summary>Reads patterns; what is wrong with them is added to <paramref name="faults"/>.</summary>
    /// <param name="where">The rule that they stand in, as a sentence begins.</param>
    public static NamePatterns Parse(
        string where,
        IReadOnlyList<string> repositories,
        IReadOnlyList<string> tags,
        List<string> faults
    )
    {
        var patterns = new NamePatterns();
        if (repositories.Count == 0)
        {
            faults.Add($"{where} names no repositories; write patterns such as ci/** or **");
        }

        foreach (var text in repositories)
        {
            if (!RepositoryPattern.TryParse(text, out var pattern, out var fault))
            {
                faults.Add($"{where}: '{text}' {fault}");
            }
            else if (pattern.IsPersonal)
            {
                faults.Add($"{where}: '{text}' has {{user}}, but this rule is about nobody in particular");
            }
            else
            {
                patterns._repositories.Add(pattern);
            }
        }

        foreach (var text in tags)
        {
            // What a glob stands for has to be possible as a tag.
            if (!Tag.TryParse(text.Replace('*', 'x'), out _))
            {
                faults.Add($"{where}: '{text}' is no pattern for tags; write for example 1.* or *");
            }
            else
            {
                patterns._tags.Add(text);
            }
        }

        return patterns;
    }

    /// <summary>Whether a repository is meant.</summary>
    public bool Mean(RepositoryName repository) => _repositories.Exists(p => p.Matches(repository.Value, user: null));

    /// <summary>Whether a tag is meant, of a repository that is.</summary>
    public bool Mean(string tag) => _tags.Exists(p => RepositoryPattern.Glob(tag, p));

    public override string ToString() => string.Join(", ", _repositories);
}
