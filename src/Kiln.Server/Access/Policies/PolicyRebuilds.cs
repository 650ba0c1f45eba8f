using Kiln.Server.Configuration;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Access.Policies;

/// <summary>When the images of some repositories are built anew without anybody asking.</summary>
internal sealed record PolicyRebuild(IReadOnlyList<RepositoryPattern> Repositories, RebuildTriggers Rebuild)
{
    private static readonly (string Word, RebuildTriggers Rebuild)[] Words =
    [
        ("off", RebuildTriggers.Off),
        ("on-base-change", RebuildTriggers.OnBaseChange),
    ];

    /// <summary>Reads <c>rebuilds</c> of a policy file.</summary>
    /// <param name="patterns">Reads a list of repository patterns.</param>
    public static IReadOnlyList<PolicyRebuild> Read(
        YamlReader yaml,
        YamlNode node,
        Func<YamlNode, IReadOnlyList<RepositoryPattern>> patterns
    )
    {
        var rebuilds = new List<PolicyRebuild>();
        foreach (var entry in yaml.List(node, "rebuilds"))
        {
            var map = yaml.Map(entry, "a rebuild", "repositories", "rebuild");
            if (!map.TryGetValue("repositories", out var repositories) || !map.TryGetValue("rebuild", out var word))
            {
                yaml.Fault(entry, "an entry of rebuilds needs repositories and rebuild");
                continue;
            }

            var text = yaml.Text(word, "rebuild");
            var found = Array.FindIndex(Words, w => w.Word == text);
            if (found < 0)
            {
                yaml.Fault(word, $"'{text}' is no word for rebuild; there are off, on-base-change");
                continue;
            }

            rebuilds.Add(new PolicyRebuild(patterns(repositories), Words[found].Rebuild));
        }

        return rebuilds;
    }
}
