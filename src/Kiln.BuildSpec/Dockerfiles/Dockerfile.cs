using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;

namespace Kiln.BuildSpec.Dockerfiles;

/// <summary>
/// A Dockerfile (Containerfile) as far as a build service must understand it: its stages, the images it needs, its
/// steps. What an instruction does is the engine's matter.
/// </summary>
public sealed class Dockerfile
{
    private static readonly FrozenSet<string> Known = new[]
    {
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    }.ToFrozenSet(StringComparer.Ordinal);

    private Dockerfile(IReadOnlyList<DockerfileInstruction> globalArgs, IReadOnlyList<DockerfileStage> stages)
    {
        GlobalArgs = globalArgs;
        Stages = stages;
    }

    /// <summary>The <c>ARG</c> instructions before the first <c>FROM</c>.</summary>
    public IReadOnlyList<DockerfileInstruction> GlobalArgs { get; }

    public IReadOnlyList<DockerfileStage> Stages { get; }

    /// <summary>Reads <paramref name="text"/>, or says in <paramref name="fault"/> what is wrong and in which line.</summary>
    public static bool TryParse(
        string text,
        [NotNullWhen(true)] out Dockerfile? file,
        [NotNullWhen(false)] out string? fault
    )
    {
        file = null;
        fault = null;
        try
        {
            file = Parse(text);
            return true;
        }
        catch (FormatException e)
        {
            fault = e.Message;
            return false;
        }
    }

    /// <summary>The index of the stage that <paramref name="target"/> names (by name or number), the last one for null, or -1.</summary>
    public int StageIndex(string? target)
    {
        if (string.IsNullOrEmpty(target))
        {
            return Stages.Count - 1;
        }

        for (var i = 0; i < Stages.Count; i++)
        {
            if (string.Equals(Stages[i].Name, target, StringComparison.OrdinalIgnoreCase))
            {
                return i;
            }
        }

        return int.TryParse(target, out var number) && number >= 0 && number < Stages.Count ? number : -1;
    }

    private static Dockerfile Parse(string text)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw new FormatException("line 1: this is not a text file");
        }

        var globals = new List<DockerfileInstruction>();
        var stages = new List<DockerfileStage>();
        var body = new List<DockerfileInstruction>();
        foreach (var instruction in DockerfileLexer.Read(text))
        {
            Check(instruction);
            if (instruction.Name == "FROM")
            {
                body = [];
                stages.Add(ReadFrom(instruction, body, stages));
            }
            else if (stages.Count > 0)
            {
                body.Add(instruction);
            }
            else if (instruction.Name == "ARG")
            {
                globals.Add(instruction);
            }
            else
            {
                throw DockerfileLexer.At(
                    instruction.Line,
                    $"{instruction.Name} before the first FROM; only ARG may stand there"
                );
            }
        }

        return stages.Count > 0
            ? new Dockerfile(globals, stages)
            : throw new FormatException("line 1: there is no FROM instruction");
    }

    private static void Check(DockerfileInstruction instruction)
    {
        if (!Known.Contains(instruction.Name))
        {
            var word = instruction.Name.Length > 40 ? instruction.Name[..40] + "…" : instruction.Name;
            throw DockerfileLexer.At(instruction.Line, $"'{word}' is not a Dockerfile instruction");
        }

        if (instruction.Arguments.Length == 0)
        {
            throw DockerfileLexer.At(instruction.Line, $"{instruction.Name} needs an argument");
        }
    }

    private static DockerfileStage ReadFrom(
        DockerfileInstruction from,
        List<DockerfileInstruction> body,
        List<DockerfileStage> earlier
    )
    {
        var words = from.Arguments.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        if (
            words.Length is not (1 or 3)
            || (words.Length == 3 && !words[1].Equals("AS", StringComparison.OrdinalIgnoreCase))
        )
        {
            throw DockerfileLexer.At(from.Line, "write FROM IMAGE or FROM IMAGE AS NAME");
        }

        var name = words.Length == 3 ? words[2].ToLowerInvariant() : null;
        if (name is not null && earlier.Exists(s => s.Name == name))
        {
            throw DockerfileLexer.At(from.Line, $"there is a stage '{name}' already");
        }

        return new DockerfileStage(words[0], name, from.Flag("platform"), from, body);
    }
}
