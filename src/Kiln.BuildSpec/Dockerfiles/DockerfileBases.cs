using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kiln.Oci;

namespace Kiln.BuildSpec.Dockerfiles;

/// <summary>
/// Which images a Dockerfile needs from outside, and the same Dockerfile with those images under other names: bases are
/// resolved to digests and fetched before the build, which then has no credentials and need not pull.
/// </summary>
public sealed class DockerfileBases
{
    private readonly Dockerfile _file;
    private readonly Dictionary<string, string> _variables;
    private readonly Platform _target;
    private readonly Platform _build;
    private readonly int _last;

    /// <param name="file">The recipe.</param>
    /// <param name="args">Build arguments.</param>
    /// <param name="target">The platform that is built for.</param>
    /// <param name="build">The platform that the build runs on.</param>
    /// <param name="stage">Index of the stage that is built; later ones are left out.</param>
    /// <exception cref="FormatException">A global ARG cannot be read.</exception>
    public DockerfileBases(
        Dockerfile file,
        IReadOnlyDictionary<string, string> args,
        Platform target,
        Platform build,
        int stage
    )
    {
        _file = file;
        _target = target;
        _build = build;
        _last = stage;
        _variables = PlatformVariables(target, build);
        foreach (var arg in file.GlobalArgs)
        {
            foreach (var (name, value) in ReadArg(arg))
            {
                var given = args.TryGetValue(name, out var fromRequest) ? fromRequest : value;
                if (given is not null)
                {
                    _variables[name] = given;
                }
            }
        }
    }

    /// <summary>The images from outside, each once, in the order of their first use.</summary>
    /// <exception cref="FormatException">A reference uses a variable that has no value, or a platform that is none.</exception>
    public IReadOnlyList<BaseReference> References()
    {
        var found = new List<BaseReference>();
        Walk((reference, _) => found.Add(reference));
        return [.. found.Distinct()];
    }

    /// <summary>The image that a stage stands on in the end, through earlier stages; null for <c>scratch</c>.</summary>
    public BaseReference? BaseOf(int stage)
    {
        var image = Expand(_file.Stages[stage].Image, _file.Stages[stage].From.Line);
        if (image == "scratch")
        {
            return null;
        }

        var earlier = _file
            .Stages.Take(stage)
            .ToList()
            .FindIndex(s => string.Equals(s.Name, image, StringComparison.OrdinalIgnoreCase));
        return earlier >= 0 ? BaseOf(earlier) : new BaseReference(image, StagePlatform(_file.Stages[stage]));
    }

    /// <summary>The Dockerfile's text with each image from outside replaced by what <paramref name="rename"/> says.</summary>
    /// <param name="rename">The new name of an image.</param>
    /// <param name="lowerHeredocs">Whether the engine does not know here-documents.</param>
    /// <exception cref="FormatException">A here-document cannot be written otherwise.</exception>
    public string Rewrite(Func<BaseReference, string> rename, bool lowerHeredocs = false)
    {
        var replaced = new Dictionary<DockerfileInstruction, string>(ReferenceEqualityComparer.Instance);
        foreach (var instruction in _file.Stages.Take(_last + 1).SelectMany(s => s.Instructions))
        {
            if (lowerHeredocs && WithoutHeredocs(instruction) is { } text)
            {
                replaced[instruction] = text;
            }
        }

        Walk(
            (reference, use) =>
            {
                var raw = replaced.GetValueOrDefault(use.Instruction, use.Instruction.Raw);
                replaced[use.Instruction] = use.Replace(raw, rename(reference));
            }
        );
        // --platform was honoured when the base was resolved, and engines want it again only where it is another machine's.
        foreach (
            var stage in _file
                .Stages.Take(_last + 1)
                .Where(s => (s.Platform is not null || IsForeign) && !replaced.ContainsKey(s.From))
        )
        {
            replaced[stage.From] = From(stage, stage.Image);
        }

        var result = new StringBuilder();
        foreach (
            var instruction in _file.GlobalArgs.Concat(
                _file.Stages.Take(_last + 1).SelectMany(s => s.Instructions.Prepend(s.From))
            )
        )
        {
            result.Append(replaced.GetValueOrDefault(instruction, instruction.Raw)).Append('\n');
        }

        return result.ToString();
    }

    /// <summary>
    /// A RUN with here-documents as one that an engine without them understands: a shell reads them itself. Null where
    /// the instruction has none; COPY and ADD cannot be written otherwise and throw.
    /// </summary>
    private static string? WithoutHeredocs(DockerfileInstruction instruction)
    {
        if (instruction.Heredocs.Count == 0)
        {
            return null;
        }

        if (instruction.Name != "RUN")
        {
            throw DockerfileLexer.At(
                instruction.Line,
                $"{instruction.Name} with a here-document needs a newer build engine than this node has; put the text into a file of the context"
            );
        }

        var bare = instruction.Arguments.StartsWith("<<", StringComparison.Ordinal) && instruction.Heredocs.Count == 1;
        var script = bare
            ? instruction.Heredocs[0].Body
            : instruction.Arguments + "\n" + string.Concat(instruction.Heredocs.Select(h => h.Body + h.Word + "\n"));
        var flags = string.Concat(
            instruction.Flags.Select(f => f.Value.Length == 0 ? $"--{f.Name} " : $"--{f.Name}={f.Value} ")
        );
        var quoted = JsonEncodedText.Encode(script, JavaScriptEncoder.UnsafeRelaxedJsonEscaping);
        return $"RUN {flags}[\"/bin/sh\", \"-c\", \"{quoted}\"]";
    }

    private sealed record Use(DockerfileInstruction Instruction, Func<string, string, string> Replace);

    private void Walk(Action<BaseReference, Use> visit)
    {
        for (var i = 0; i <= _last; i++)
        {
            var stage = _file.Stages[i];
            var image = Expand(stage.Image, stage.From.Line);
            if (image != "scratch" && !IsStage(image, i))
            {
                visit(
                    new BaseReference(image, StagePlatform(stage)),
                    new Use(stage.From, (_, name) => From(stage, name))
                );
            }

            foreach (var instruction in stage.Instructions)
            {
                WalkSources(instruction, i, visit);
            }
        }
    }

    // COPY --from=IMAGE and RUN --mount=…,from=IMAGE
    private void WalkSources(DockerfileInstruction instruction, int stage, Action<BaseReference, Use> visit)
    {
        foreach (var flag in instruction.Flags)
        {
            var source = flag.Name switch
            {
                "from" when instruction.Name is "COPY" => flag.Value,
                "mount" when instruction.Name is "RUN" => MountSource(flag.Value),
                _ => null,
            };
            if (source is null or "" or "scratch" || IsStage(source, stage) || IsEarlierNumber(source, stage))
            {
                continue;
            }

            visit(
                new BaseReference(source, _target),
                new Use(instruction, (raw, name) => ReplaceInFlag(raw, flag, source, name))
            );
        }
    }

    // Only inside the flag itself: the same text may stand in the command, or begin a longer name.
    private static string ReplaceInFlag(string raw, DockerfileFlag flag, string source, string name)
    {
        var written = $"--{flag.Name}={flag.Value}";
        var at = raw.IndexOf(written, StringComparison.Ordinal);
        var options = written.Split(',').Select(o => Renamed(o, source, name));
        return at < 0 ? raw : raw[..at] + string.Join(',', options) + raw[(at + written.Length)..];
    }

    private static string Renamed(string option, string source, string name) =>
        option.EndsWith("from=" + source, StringComparison.Ordinal) ? option[..^source.Length] + name : option;

    private static string? MountSource(string options) =>
        options
            .Split(',')
            .Select(o => o.Trim())
            .FirstOrDefault(o => o.StartsWith("from=", StringComparison.Ordinal))
            ?["from=".Length..];

    // Each stage says it: in some engines what one says counts for those after it too.
    private string From(DockerfileStage stage, string image)
    {
        var platform = IsForeign ? $"--platform={StagePlatform(stage) with { Variant = null }} " : "";
        return stage.Name is null ? $"FROM {platform}{image}" : $"FROM {platform}{image} AS {stage.Name}";
    }

    private bool IsForeign => _target.Os != _build.Os || _target.Architecture != _build.Architecture;

    private bool IsStage(string name, int before) =>
        _file.Stages.Take(before).Any(s => string.Equals(s.Name, name, StringComparison.OrdinalIgnoreCase));

    private static bool IsEarlierNumber(string text, int stage) => int.TryParse(text, out var number) && number < stage;

    private Platform StagePlatform(DockerfileStage stage)
    {
        if (stage.Platform is null)
        {
            return _target;
        }

        var text = Expand(stage.Platform, stage.From.Line);
        return Platform.TryParse(text, out var platform)
            ? platform
            : throw DockerfileLexer.At(stage.From.Line, $"'{text}' is not a platform such as linux/amd64");
    }

    private string Expand(string text, int line) => DockerfileVariables.Expand(text, _variables, line);

    private IEnumerable<(string Name, string? Value)> ReadArg(DockerfileInstruction arg)
    {
        foreach (var word in DockerfileVariables.Words(arg.Arguments))
        {
            var equals = word.IndexOf('=', StringComparison.Ordinal);
            yield return equals < 0 ? (word, null) : (word[..equals], Expand(word[(equals + 1)..], arg.Line));
        }
    }

    // https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
    private static Dictionary<string, string> PlatformVariables(Platform target, Platform build) =>
        new(StringComparer.Ordinal)
        {
            ["TARGETPLATFORM"] = target.ToString(),
            ["TARGETOS"] = target.Os,
            ["TARGETARCH"] = target.Architecture,
            ["TARGETVARIANT"] = target.Variant ?? "",
            ["BUILDPLATFORM"] = build.ToString(),
            ["BUILDOS"] = build.Os,
            ["BUILDARCH"] = build.Architecture,
            ["BUILDVARIANT"] = build.Variant ?? "",
        };
}
