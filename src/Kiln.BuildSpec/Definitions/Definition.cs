using System.Diagnostics.CodeAnalysis;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.BuildSpec.Definitions;

/// <summary>
/// A definition of Singularity's and Apptainer's as far as a build service must understand it: its stages, the images it needs, its
/// sections. What a section does is the engine's matter.
/// </summary>
/// <param name="Stages">In the order in which they are built; the last one is the product.</param>
public sealed record Definition(IReadOnlyList<DefinitionStage> Stages)
{
    /// <summary>Reads <paramref name="text"/>, or says in <paramref name="fault"/> what is wrong and in which line.</summary>
    /// <param name="text">The definition as written.</param>
    /// <param name="args">The values of its arguments, by <see cref="DefinitionArguments.For"/>.</param>
    public static bool TryParse(
        string text,
        IReadOnlyDictionary<string, string> args,
        [NotNullWhen(true)] out Definition? definition,
        [NotNullWhen(false)] out string? fault
    )
    {
        try
        {
            definition = Parse(text, args);
            fault = null;
            return true;
        }
        catch (FormatException e)
        {
            definition = null;
            fault = e.Message;
            return false;
        }
    }

    /// <inheritdoc cref="TryParse"/>
    /// <exception cref="FormatException">What is wrong, and in which line.</exception>
    public static Definition Parse(string text, IReadOnlyDictionary<string, string> args)
    {
        var stages = DefinitionReader.Read(text, args);
        DefinitionRules.Check(stages);
        return new Definition(stages);
    }

    /// <summary>The index of the stage that <paramref name="target"/> names, the last one for null, or -1.</summary>
    public int StageIndex(string? target) =>
        string.IsNullOrEmpty(target) ? Stages.Count - 1 : Stages.ToList().FindIndex(s => s.Name == target);

    /// <summary>The indexes of the stages that a stage takes files from, through others too, and its own, in order.</summary>
    public IReadOnlyList<int> Needed(int stage)
    {
        var needed = new SortedSet<int> { stage };
        for (var i = stage; i >= 0; i--)
        {
            if (needed.Contains(i))
            {
                needed.UnionWith(Stages[i].Files.Where(f => f.Stage is not null).Select(f => StageIndex(f.Stage)));
            }
        }

        return [.. needed];
    }

    /// <summary>The images from registries that a stage and those before it that it needs stand on, each once.</summary>
    public IReadOnlyList<BaseReference> Bases(int stage, Platform platform) =>
        [.. Needed(stage).Select(i => Stages[i].Base(platform)).OfType<BaseReference>().Distinct()];
}

/// <summary>A stage: what it starts from and what is done to that.</summary>
/// <param name="Header">The lines before the first section, by their names in lower case.</param>
/// <param name="Sections">In the order in which they are written.</param>
/// <param name="Line">Where it begins, counted from 1.</param>
public sealed record DefinitionStage(
    IReadOnlyDictionary<string, string> Header,
    IReadOnlyList<DefinitionSection> Sections,
    int Line
)
{
    /// <summary>What it is called for <c>%files from NAME</c>; null where nobody can take files from it.</summary>
    public string? Name => Header.GetValueOrDefault("stage");

    /// <summary>One of <see cref="BootstrapAgents"/>.</summary>
    public string Agent => Header.GetValueOrDefault("bootstrap", "").ToLowerInvariant();

    /// <summary>What the agent starts from, as written; empty where it needs nothing.</summary>
    public string From => Header.GetValueOrDefault("from", "");

    public IReadOnlyList<DefinitionFiles> Files =>
        [.. Sections.Where(s => s.Name == "files").Select(DefinitionFiles.Of)];

    /// <summary>All sections of a name as one text: a second one goes on where the first one ended. Null where there is none.</summary>
    public DefinitionSection? Section(string name)
    {
        var all = Sections.Where(s => s.Name == name).ToList();
        return all.Count == 0
            ? null
            : all[0] with
            {
                Body = string.Concat(all.Select(s => s.Body)),
                Arguments = all.Last(s => s == all[0] || s.Arguments.Length > 0).Arguments,
            };
    }

    /// <summary>The image of a registry that it starts from; null where it is something else.</summary>
    public BaseReference? Base(Platform platform) =>
        Agent is BootstrapAgents.Docker or BootstrapAgents.Oras
            ? new BaseReference(From, platform) { IsSif = Agent == BootstrapAgents.Oras }
            : null;
}

/// <summary>A section.</summary>
/// <param name="Name">In lower case, without the <c>%</c>.</param>
/// <param name="Arguments">The rest of its first line, without a comment.</param>
/// <param name="Body">Its other lines, arguments filled in; empty or ending in a line feed.</param>
/// <param name="Line">Counted from 1.</param>
public sealed record DefinitionSection(string Name, string Arguments, string Body, int Line);

/// <summary>What a stage can start from.</summary>
public static class BootstrapAgents
{
    public const string Docker = "docker";
    public const string Oras = "oras";
    public const string LocalImage = "localimage";
    public const string Debootstrap = "debootstrap";
    public const string Scratch = "scratch";

    public static IReadOnlyList<string> All { get; } = [Docker, Oras, LocalImage, Debootstrap, Scratch];
}
