using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Server.Configuration;
using Kiln.Server.Configuration.Sections;

namespace Kiln.Server;

/// <summary>An option of <c>kiln serve</c> that sets something.</summary>
/// <param name="Name">With its hyphens.</param>
/// <param name="Placeholder">What stands for the value in help texts; null for a switch.</param>
/// <param name="IsList">Whether it may be given several times.</param>
/// <param name="Default">The standard as it would be written; null where there is none.</param>
public sealed record ConfigurationFlag(
    string Name,
    string Description,
    string? Placeholder,
    bool IsList,
    string? Default
);

/// <summary>Where a server's configuration comes from. A flag counts before a variable, that before the file.</summary>
public sealed record ConfigurationSources
{
    /// <summary>The configuration file; null where there is none.</summary>
    public string? File { get; init; }

    /// <summary>Where the server keeps everything if nothing says another place.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Environment variables by name.</summary>
    public IReadOnlyDictionary<string, string> Variables { get; init; } = new Dictionary<string, string>();

    /// <summary>Values of flags, by their names; <c>true</c> or <c>false</c> for switches.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Flags { get; init; } =
        new Dictionary<string, IReadOnlyList<string>>();
}

/// <summary>What came of the sources.</summary>
/// <param name="Faults">All that is wrong; with any, the options are of no use.</param>
/// <param name="Warnings">What is suspicious.</param>
public sealed record ConfigurationResult(
    ServerOptions Options,
    IReadOnlyList<string> Faults,
    IReadOnlyList<string> Warnings
);

/// <summary>The configuration of a server: file, environment and command line in one (docs/guide/operating.md).</summary>
public static class ServerConfiguration
{
    /// <summary>Names the configuration file where <c>--config</c> is not given.</summary>
    public const string FileVariable = "KILN_CONFIG";

    // What other verbs read, and the tests of Kiln itself.
    private static readonly string[] OtherVariables = [FileVariable, "KILN_REGISTRY", "KILN_NATIVE"];

    private static readonly ServerOptions Defaults = new() { DataDirectory = "" };

    private static IEnumerable<Leaf<ServerOptions>> Leaves => AllSections.File.Leaves("");

    /// <summary>All options of the command line that set something.</summary>
    public static IReadOnlyList<ConfigurationFlag> Flags() =>
        [
            .. Leaves.SelectMany<Leaf<ServerOptions>, ConfigurationFlag>(leaf =>
                leaf.Flag is { } flag
                    ?
                    [
                        new ConfigurationFlag(
                            flag.Name,
                            flag.Negation ?? leaf.Description,
                            leaf.Placeholder,
                            leaf.IsList,
                            leaf.Placeholder is not null
                            && leaf.Default(Defaults) is JsonValue value
                            && value.ToString() is { Length: > 0 } text
                                ? text
                                : null
                        ),
                    ]
                    : []
            ),
        ];

    /// <summary>Reads all sources, and tells all that is wrong with them at once.</summary>
    public static ConfigurationResult Load(ConfigurationSources sources)
    {
        var faults = new List<FileFault>();
        var options = Defaults with { DataDirectory = sources.DataDirectory };
        if (sources.File is { } file)
        {
            options = YamlReader.ReadFile(
                file,
                faults,
                options,
                (root, yaml) => AllSections.File.Read(root, yaml, options)
            );
        }

        foreach (var leaf in Leaves)
        {
            if (sources.Variables.TryGetValue(leaf.Variable, out var text) && text.Length > 0)
            {
                options = Set(options, leaf, leaf.Variable, leaf.IsList ? Words(text) : [text], faults);
            }

            if (leaf.Flag is { } flag && sources.Flags.TryGetValue(flag.Name, out var words))
            {
                options = Set(options, leaf, flag.Name, flag.Negation is not null ? [Not(words[^1])] : words, faults);
            }
        }

        var build = options.Build;
        options = options with
        {
            Build = build with
            {
                DefaultTimeoutSeconds = Math.Min(build.DefaultTimeoutSeconds, build.MaxTimeoutSeconds),
            },
        };
        return new ConfigurationResult(
            options,
            [.. faults.Where(f => !f.IsWarning).OrderBy(f => f.Line).Select(f => f.ToString())],
            [.. faults.Where(f => f.IsWarning).Select(f => f.ToString()), .. Misspelt(sources.Variables.Keys)]
        );
    }

    /// <summary>A JSON schema (2020-12) of the configuration file, indented, with a line end.</summary>
    public static string Schema()
    {
        var schema = new JsonObject
        {
            ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
            ["title"] = "Configuration of kiln serve",
        };
        foreach (var (key, value) in AllSections.File.Schema(Defaults).ToList())
        {
            schema[key] = value?.DeepClone();
        }

        // Where the server keeps its data depends on who runs it.
        schema["properties"]!["data"]!.AsObject().Remove("default");
        var bytes = new ArrayBufferWriter<byte>();
        using (
            var writer = new Utf8JsonWriter(
                bytes,
                new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }
            )
        )
        {
            schema.WriteTo(writer);
        }

        return Encoding.UTF8.GetString(bytes.WrittenSpan) + "\n";
    }

    private static ServerOptions Set(
        ServerOptions options,
        Leaf<ServerOptions> leaf,
        string source,
        IReadOnlyList<string> words,
        List<FileFault> faults
    )
    {
        var (changed, fault) = leaf.Set(options, words, Environment.CurrentDirectory);
        if (fault is not null)
        {
            faults.Add(new(source, 0, fault));
        }

        return changed;
    }

    private static string Not(string word) =>
        word switch
        {
            "true" => "false",
            "false" => "true",
            _ => word,
        };

    private static string[] Words(string text) =>
        text.Split([' ', '\t', '\n', ','], StringSplitOptions.RemoveEmptyEntries);

    // Only near misses: an orchestrator that calls a service "kiln" sets KILN_PORT_5000_TCP and the like by itself.
    private static IEnumerable<string> Misspelt(IEnumerable<string> names)
    {
        var known = Leaves.Select(l => l.Variable).Concat(OtherVariables).ToArray();
        return from name in names
            where name.StartsWith("KILN_", StringComparison.Ordinal) && !known.Contains(name, StringComparer.Ordinal)
            let near = Nearest.Find(name, known)
            where near is not null && Math.Abs(near.Length - name.Length) <= 2
            select $"{name}: there is no such setting; did you mean {near}?";
    }
}
