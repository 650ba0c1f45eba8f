using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Definitions;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Apptainer;

/// <summary>A step of a build.</summary>
/// <param name="Stage">Among those that are built, counted from 1.</param>
/// <param name="Number">In its stage, counted from 1.</param>
/// <param name="Section">What of the definition it is.</param>
/// <param name="Text">For people.</param>
/// <param name="Line">The line of the log that begins it.</param>
internal sealed record PlannedStep(int Stage, int Number, string Section, string Text, string Line);

/// <summary>
/// What engine.sh is told: the definition cut into what is built and kept by itself, and for each part a text with all that can change
/// it, beside files of the context, which the script looks at itself.
/// </summary>
internal sealed class DefinitionPlan
{
    private static readonly string[] BodySections = ["files", "post"];
    private static readonly string[] MetaSections =
    [
        "environment",
        "runscript",
        "startscript",
        "labels",
        "help",
        "test",
    ];
    private readonly EngineTask _task;
    private readonly List<DefinitionStage> _stages;
    private readonly string _common;

    /// <param name="engine">Apptainer with its version.</param>
    /// <param name="script">The engine's script: what another one makes is something else.</param>
    public DefinitionPlan(EngineTask task, Definition definition, int stage, string engine, string script)
    {
        _task = task;
        _stages = [.. definition.Needed(stage).Select(i => definition.Stages[i])];
        var platform = $"{task.Task.Platform} {task.Task.Microarchitecture}";
        var epoch = task.Task.SourceDateEpoch?.ToString(CultureInfo.InvariantCulture);
        _common = $"{engine}\n{Digest.Of(Encoding.UTF8.GetBytes(script))}\n{platform}\n{task.Task.Network}\n{epoch}\n";
        Steps = [.. _stages.SelectMany((s, i) => StepsOf(s, i + 1))];
    }

    /// <summary>How many stages are built.</summary>
    public int Stages => _stages.Count;

    public IReadOnlyList<PlannedStep> Steps { get; }

    /// <summary>The bases' blobs, where the plan says that they are.</summary>
    public IReadOnlyList<JailBind> Binds => [.. _task.Bases.Select((b, i) => new JailBind(b.Layout, Layout(i)))];

    /// <summary>The image whose layers the product keeps; null where it stands on something else.</summary>
    public FetchedBase? FinalBase => _stages[^1].Agent == BootstrapAgents.Docker ? BaseOf(_stages[^1]).Image : null;

    /// <summary>Puts the definition's own names of bases back into a text.</summary>
    public string Display(string text) =>
        _task.Bases.Aggregate(
            text,
            (t, b) => t.Replace(BaseStores.ImageName(b.Manifest), b.Reference.Written, StringComparison.Ordinal)
        );

    /// <summary>Writes all of it into the build's directory.</summary>
    public void Write()
    {
        for (var i = 0; i < _stages.Count; i++)
        {
            Write(_stages[i], i + 1);
        }
    }

    private void Write(DefinitionStage stage, int number)
    {
        var home = Directory.CreateDirectory(
            Path.Combine(_task.Directory, "build", "plan", number.ToString(CultureInfo.InvariantCulture))
        );
        void File(string name, string text) => System.IO.File.WriteAllText(Path.Combine(home.FullName, name), text);

        var last = number == _stages.Count;
        var steps = Steps.Where(s => s.Stage == number).ToList();
        foreach (var step in steps)
        {
            File($"step.{step.Number}", step.Line + "\n");
        }

        string[] body = last ? BodySections : [.. BodySections, .. MetaSections];
        string[] meta = last ? MetaSections : [];
        File("body", Numbers(steps.Where(s => !meta.Contains(s.Section))));
        File("meta", Numbers(steps.Where(s => meta.Contains(s.Section))));
        File(
            "base",
            stage.Agent == BootstrapAgents.Docker ? BaseStores.ImageName(BaseOf(stage).Image.Manifest) : "scratch"
        );
        File("body.def", Sources(stage) + Header(stage) + Text(stage, body));
        File("body.key", $"{_common}{Identity(stage)}\n{Text(stage, body)}");
        File("meta.def", "Bootstrap: localimage\nFrom: /build/work/stage\n\n" + Text(stage, MetaSections));
        File("meta.key", $"{Text(stage, MetaSections)}\n{Labels(stage)}\n{_task.Recipe}");
        File("files", Paths(stage.Files.Where(f => f.Stage is null).SelectMany(f => f.Items.Select(i => i.Source))));
        File("local", Paths(stage.Agent == BootstrapAgents.LocalImage ? [stage.From] : []));
        File("from", string.Concat(Sourced(stage).Select(s => $"{s.Number}\n")));
        File("Singularity", _task.Recipe);
        File("labels.sed", Labels(stage));
        if (stage.Section("runscript") is not null)
        {
            File("runscript", "");
        }
    }

    private IEnumerable<PlannedStep> StepsOf(DefinitionStage stage, int number)
    {
        var from = stage.From.Length > 0 ? $", From: {stage.From}" : "";
        var texts = new List<(string Section, string Text)> { ("bootstrap", $"Bootstrap: {stage.Agent}{from}") };
        texts.AddRange(BodySections.Where(Has).Select(n => (n, "%" + n)));
        var described = MetaSections[..^1].Where(Has).Select(n => "%" + n).ToList();
        if (number == _stages.Count)
        {
            texts.Add(("environment", described.Count == 0 ? "metadata" : string.Join(' ', described)));
        }

        if (Has("test"))
        {
            texts.Add(("test", "%test"));
        }

        return texts.Select(
            (t, i) =>
                new PlannedStep(
                    number,
                    i + 1,
                    t.Section,
                    t.Text,
                    $"[{number}/{_stages.Count}] STEP {i + 1}/{texts.Count}: {t.Text}"
                )
        );

        // Of files Apptainer tells when it copies the first one.
        bool Has(string section) =>
            section == "files" ? stage.Files.Any(f => f.Items.Count > 0) : stage.Section(section) is not null;
    }

    private static string Paths(IEnumerable<string> paths) => string.Concat(paths.Select(p => p + "\n"));

    private static string Numbers(IEnumerable<PlannedStep> steps) => string.Concat(steps.Select(s => $"{s.Number}\n"));

    private static string Text(DefinitionStage stage, string[] names) =>
        string.Concat(
            stage
                .Sections.Where(s => names.Contains(s.Name, StringComparer.Ordinal))
                .Select(s =>
                    s.Name == "files"
                        ? DefinitionFiles.Of(s).Text + "\n"
                        : $"%{s.Name} {s.Arguments}".TrimEnd() + "\n" + s.Body.TrimEnd('\n') + "\n\n"
                )
        );

    // The stages that files come from, as stages that are what has been built of them already.
    private string Sources(DefinitionStage stage) =>
        string.Concat(
            Sourced(stage)
                .Select(s => $"Bootstrap: localimage\nFrom: /build/work/stage-{s.Number}\nStage: {s.Stage.Name}\n\n")
        );

    private IEnumerable<(DefinitionStage Stage, int Number)> Sourced(DefinitionStage stage)
    {
        var names = stage.Files.Select(f => f.Stage).ToHashSet(StringComparer.Ordinal);
        return _stages
            .Select((s, i) => (Stage: s, Number: i + 1))
            .Where(s => s.Stage.Name is { } name && names.Contains(name));
    }

    private string Header(DefinitionStage stage) =>
        stage.Agent switch
        {
            BootstrapAgents.Docker => $"Bootstrap: oci\nFrom: {Layout(BaseOf(stage).Index)}\n\n",
            BootstrapAgents.Oras => $"Bootstrap: localimage\nFrom: {SifOf(stage)}\n\n",
            BootstrapAgents.LocalImage => $"Bootstrap: localimage\nFrom: /build/ctx/{stage.From}\n\n",
            BootstrapAgents.Debootstrap =>
                $"Bootstrap: debootstrap\n{string.Concat(stage.Header.Where(h => h.Key is not ("bootstrap" or "stage" or "from")).Select(h => $"{h.Key}: {h.Value}\n"))}\n",
            _ => "Bootstrap: scratch\n\n",
        };

    // What the stage starts from, and not what that is called.
    private string Identity(DefinitionStage stage) =>
        stage.Agent switch
        {
            BootstrapAgents.Docker or BootstrapAgents.Oras => $"{stage.Agent} {BaseOf(stage).Image.Manifest}",
            _ => string.Join(
                '\n',
                stage.Header.OrderBy(h => h.Key, StringComparer.Ordinal).Select(h => $"{h.Key}: {h.Value}")
            ),
        };

    // labels.json tells of the header; that of the second run is not what the definition says.
    private static string Labels(DefinitionStage stage) => Label("bootstrap", stage.Agent) + Label("from", stage.From);

    private static string Label(string name, string value)
    {
        var json = JsonEncodedText.Encode(value, JavaScriptEncoder.UnsafeRelaxedJsonEscaping).ToString();
        var safe = json.Replace("\\", "\\\\", StringComparison.Ordinal)
            .Replace("&", "\\&", StringComparison.Ordinal)
            .Replace("|", "\\|", StringComparison.Ordinal);
        return $"s|\\(usage\\.singularity\\.deffile\\.{name}\": \"\\)[^\"]*|\\1{safe}|\n";
    }

    private string SifOf(DefinitionStage stage)
    {
        var (image, index) = BaseOf(stage);
        return $"{Layout(index)}/blobs/{image.Layers[0].Digest.Algorithm}/{image.Layers[0].Digest.Encoded}";
    }

    private (FetchedBase Image, int Index) BaseOf(DefinitionStage stage)
    {
        var wanted = stage.Base(_task.Task.Platform);
        var index = _task.Bases.ToList().FindIndex(b => b.Reference == wanted);
        return (_task.Bases[index], index);
    }

    private static string Layout(int index) => $"/layouts/{index.ToString("000", CultureInfo.InvariantCulture)}";
}
