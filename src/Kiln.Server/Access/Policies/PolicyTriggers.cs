using Kiln.Server.Configuration;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Access.Policies;

/// <summary>Whether recipes that are pushed to some repositories are built.</summary>
internal sealed record PolicyTrigger(IReadOnlyList<RepositoryPattern> Repositories, PushTriggers Trigger)
{
    private static readonly (string Word, PushTriggers Trigger)[] Words =
    [
        ("off", PushTriggers.Off),
        ("opt-in", PushTriggers.OptIn),
        ("on", PushTriggers.On),
    ];

    /// <summary>Reads <c>triggers</c> of a policy file.</summary>
    /// <param name="patterns">Reads a list of repository patterns.</param>
    public static IReadOnlyList<PolicyTrigger> Read(
        YamlReader yaml,
        YamlNode node,
        Func<YamlNode, IReadOnlyList<RepositoryPattern>> patterns
    )
    {
        var triggers = new List<PolicyTrigger>();
        foreach (var entry in yaml.List(node, "triggers"))
        {
            var map = yaml.Map(entry, "a trigger", "repositories", "trigger");
            if (!map.TryGetValue("repositories", out var repositories) || !map.TryGetValue("trigger", out var word))
            {
                yaml.Fault(entry, "a trigger needs repositories and trigger");
                continue;
            }

            var text = yaml.Text(word, "trigger");
            var found = Array.FindIndex(Words, w => w.Word == text);
            if (found < 0)
            {
                yaml.Fault(word, $"'{text}' is no trigger; there are off, opt-in, on");
                continue;
            }

            triggers.Add(new PolicyTrigger(patterns(repositories), Words[found].Trigger));
        }

        return triggers;
    }
}
