using System.Buffers;
using System.Collections.Frozen;
using Kiln.Oci;

namespace Kiln.BuildSpec.Definitions;

/// <summary>What a definition must be to be built by a service: without the machine of whoever wrote it.</summary>
internal static class DefinitionRules
{
    private static readonly FrozenSet<string> Sections = new[]
    {
        "arguments",
        "files",
        "post",
        "environment",
        "runscript",
        "startscript",
        "labels",
        "help",
        "test",
    }.ToFrozenSet(StringComparer.Ordinal);

    private static readonly SearchValues<char> Shell = SearchValues.Create("$`\\;&|<>(){}\"'");

    /// <exception cref="FormatException">The first rule that is broken, and in which line.</exception>
    public static void Check(IReadOnlyList<DefinitionStage> stages)
    {
        var earlier = new HashSet<string>(StringComparer.Ordinal);
        foreach (var stage in stages)
        {
            CheckHeader(stage);
            foreach (var section in stage.Sections)
            {
                CheckSection(section);
            }

            foreach (var files in stage.Files)
            {
                CheckFiles(files, earlier);
            }

            if (stage.Name is { } name && !earlier.Add(name))
            {
                throw DefinitionReader.At(stage.Line, $"there is a stage '{name}' already");
            }
        }
    }

    private static void CheckSection(DefinitionSection section)
    {
        if (section.Name is "setup" or "pre")
        {
            throw DefinitionReader.At(
                section.Line,
                $"%{section.Name} would run on the machine that builds, outside of the container, which no recipe may; do it in %post"
            );
        }

        if (section.Name.StartsWith("app", StringComparison.Ordinal))
        {
            throw DefinitionReader.At(
                section.Line,
                $"%{section.Name}: applications inside a definition (SCIF) are not built here; write one definition for each"
            );
        }

        if (!Sections.Contains(section.Name))
        {
            throw DefinitionReader.At(
                section.Line,
                $"'%{(section.Name.Length > 40 ? section.Name[..40] + "…" : section.Name)}' is no section of a definition; there are %files, %post, %environment, "
                    + "%runscript, %startscript, %labels, %help, %test and %arguments"
            );
        }
    }

    private static void CheckHeader(DefinitionStage stage)
    {
        if (!BootstrapAgents.All.Contains(stage.Agent, StringComparer.Ordinal))
        {
            throw DefinitionReader.At(
                stage.Line,
                $"the bootstrap agent '{stage.Agent}' is not known here; there are {string.Join(", ", BootstrapAgents.All)}"
            );
        }

        if (
            stage.Name is { } name
            && (name.Length == 0 || name.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('_' or '-' or '.')))
        )
        {
            throw DefinitionReader.At(stage.Line, "the name of a stage has letters, digits and . _ -");
        }

        var needed = stage.Agent switch
        {
            BootstrapAgents.Scratch => [],
            BootstrapAgents.Debootstrap => new[] { "OSVersion", "MirrorURL" },
            _ => ["From"],
        };
        if (
            needed.FirstOrDefault(n => stage.Header.GetValueOrDefault(n.ToLowerInvariant(), "").Length == 0) is
            { } missing
        )
        {
            throw DefinitionReader.At(stage.Line, $"Bootstrap: {stage.Agent} needs a line '{missing}:'");
        }

        if (stage.Agent is BootstrapAgents.Docker or BootstrapAgents.Oras && !Reference.TryParse(stage.From, out _))
        {
            throw DefinitionReader.At(stage.Line, $"'{stage.From}' is not an image reference");
        }

        if (stage.Agent == BootstrapAgents.LocalImage && WhyNotInContext(stage.From) is { } why)
        {
            throw DefinitionReader.At(stage.Line, $"Bootstrap: localimage, From: {stage.From}: {why}");
        }
    }

    private static void CheckFiles(DefinitionFiles files, HashSet<string> earlier)
    {
        if (files.Stage is { } stage && !earlier.Contains(stage))
        {
            throw DefinitionReader.At(files.Line, $"there is no stage '{stage}' before this one");
        }

        foreach (var (source, destination, line) in files.Items)
        {
            if (files.Stage is null && WhyNotInContext(source) is { } why)
            {
                throw DefinitionReader.At(line, $"%files {source}: {why}");
            }

            // Apptainer has a shell read them.
            if (
                (source + destination) is var both
                && (both.AsSpan().IndexOfAny(Shell) >= 0 || both.Any(char.IsControl))
            )
            {
                throw DefinitionReader.At(
                    line,
                    $"%files {source}: a path may not have characters that mean something to a shell, but * ? [ ]"
                );
            }
        }
    }

    private static string? WhyNotInContext(string path) =>
        path.StartsWith('/') || path.StartsWith('~')
            ? "there is no host to take files from here; name them relative to the build's context"
        : path.Split('/').Contains("..") ? "it is outside of the build's context"
        : null;
}
