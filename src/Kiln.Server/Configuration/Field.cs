using System.Text.Json.Nodes;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Configuration;

/// <summary>One key of a mapping in the configuration, and what it sets. Declared once; read, documented and checked from there.</summary>
/// <param name="key">Lower case, words joined by hyphens.</param>
/// <param name="description">A sentence for help texts and the schema.</param>
internal abstract class Field<T>(string key, string description)
{
    public string Key { get; } = key;

    public string Description { get; } = description;

    /// <summary>Whether the mapping is wrong without it.</summary>
    public bool IsRequired { get; init; }

    /// <summary>Reads the value from the file, notes what is wrong, and sets the rest.</summary>
    /// <param name="path">The keys that lead to the mapping, with a point after each.</param>
    public abstract T Read(YamlNode node, YamlReader yaml, string path, T target);

    /// <summary>What a JSON schema says of the value.</summary>
    /// <param name="defaults">What is there where nothing is said.</param>
    public abstract JsonObject Schema(T defaults);

    /// <summary>All settings below that a flag or an environment variable can give.</summary>
    public abstract IEnumerable<Leaf<T>> Leaves(string path);
}

/// <summary>A setting as flags and environment variables see it.</summary>
/// <param name="Path">Its keys, joined by points: <c>builds.concurrent</c>.</param>
/// <param name="Set">Sets it to words, relative to a folder; tells what is wrong, as the end of a sentence.</param>
/// <param name="Default">The standard as it would be written; null where there is none.</param>
internal sealed record Leaf<T>(
    string Path,
    string Description,
    Flag? Flag,
    string? Placeholder,
    bool IsList,
    Func<T, IReadOnlyList<string>, string, (T Target, string? Fault)> Set,
    Func<T, JsonNode?> Default
)
{
    /// <summary>The environment variable: <c>KILN_BUILDS_CONCURRENT</c>.</summary>
    public string Variable => "KILN_" + Path.Replace('.', '_').Replace('-', '_').ToUpperInvariant();
}

/// <summary>A setting's option on the command line.</summary>
/// <param name="Name">With its hyphens.</param>
/// <param name="Negation">What a switch does that means no: <c>--no-builds</c>; null where it means yes.</param>
/// <param name="Placeholder">What stands for the value in the help text, where the kind's own word says too little.</param>
internal sealed record Flag(string Name, string? Negation = null, string? Placeholder = null);

/// <summary>One value.</summary>
/// <param name="get">The value in the options.</param>
/// <param name="set">The options with another value.</param>
internal sealed class Field<T, TValue>(
    string key,
    string description,
    Kind<TValue> kind,
    Func<T, TValue?> get,
    Func<T, TValue, T> set
) : Field<T>(key, description)
{
    /// <summary>Its option on the command line; null where there is none.</summary>
    public Flag? Flag { get; init; }

    public override T Read(YamlNode node, YamlReader yaml, string path, T target) =>
        kind.TryRead(node, yaml, path + Key, out var value) ? set(target, value) : target;

    public override JsonObject Schema(T defaults)
    {
        var schema = kind.Schema();
        schema["description"] = Description;
        if (get(defaults) is { } value && kind.Show(value) is { } shown)
        {
            schema["default"] = shown;
        }

        return schema;
    }

    public override IEnumerable<Leaf<T>> Leaves(string path) =>
        kind.HasWords
            ?
            [
                new(
                    path + Key,
                    Description,
                    Flag,
                    Flag?.Placeholder ?? kind.Placeholder,
                    kind.IsList,
                    Set,
                    defaults => get(defaults) is { } value ? kind.Show(value) : null
                ),
            ]
            : [];

    private (T Target, string? Fault) Set(T target, IReadOnlyList<string> words, string folder) =>
        kind.FromWords(words, folder, out var value) is { } fault ? (target, fault) : (set(target, value!), null);
}

/// <summary>A mapping below a key, that sets a part of the options.</summary>
/// <param name="get">The part.</param>
/// <param name="set">The options with another part.</param>
internal sealed class Section<T, TPart>(
    string key,
    string description,
    Func<T, TPart> get,
    Func<T, TPart, T> set,
    params Field<TPart>[] fields
) : Field<T>(key, description)
{
    private readonly Shape<TPart> _shape = new(key, fields);

    public override T Read(YamlNode node, YamlReader yaml, string path, T target) =>
        set(target, _shape.Read(node, yaml, get(target), path + Key + "."));

    public override JsonObject Schema(T defaults)
    {
        var schema = _shape.Schema(get(defaults));
        schema["description"] = Description;
        return schema;
    }

    public override IEnumerable<Leaf<T>> Leaves(string path) =>
        from leaf in _shape.Leaves(path + Key + ".")
        select new Leaf<T>(
            leaf.Path,
            leaf.Description,
            leaf.Flag,
            leaf.Placeholder,
            leaf.IsList,
            (target, words, folder) =>
            {
                var (part, fault) = leaf.Set(get(target), words, folder);
                return (fault is null ? set(target, part) : target, fault);
            },
            defaults => leaf.Default(get(defaults))
        );
}

/// <summary>A mapping: its keys, in the order in which they are documented.</summary>
/// <param name="what">How it is called in messages.</param>
internal sealed class Shape<T>(string what, params Field<T>[] fields)
{
    private readonly string[] _keys = [.. fields.Select(f => f.Key)];

    /// <summary>Looks at the whole where all its values were right; tells what is wrong with it, or null.</summary>
    public Func<T, string?> Check { get; init; } = _ => null;

    /// <summary>Reads a mapping and notes all that is wrong with it.</summary>
    public T Read(YamlNode node, YamlReader yaml, T target, string path = "")
    {
        if (YamlReader.IsNothing(node))
        {
            // A section whose lines are all commented out.
            return target;
        }

        var before = yaml.FaultCount;
        var map = yaml.Map(node, what, _keys);
        foreach (var field in fields)
        {
            if (map.TryGetValue(field.Key, out var value))
            {
                target = field.Read(value, yaml, path, target);
            }
            else if (field.IsRequired)
            {
                yaml.Fault(node, $"{what} needs '{field.Key}'");
            }
        }

        if (yaml.FaultCount == before && Check(target) is { } fault)
        {
            yaml.Fault(node, $"{what}: {fault}");
        }

        return target;
    }

    public JsonObject Schema(T defaults)
    {
        var properties = new JsonObject();
        foreach (var field in fields)
        {
            properties[field.Key] = field.Schema(defaults);
        }

        var schema = new JsonObject
        {
            ["type"] = "object",
            ["properties"] = properties,
            ["additionalProperties"] = false,
        };
        if (fields.Any(f => f.IsRequired))
        {
            schema["required"] = new JsonArray([
                .. fields.Where(f => f.IsRequired).Select(f => (JsonNode?)JsonValue.Create(f.Key)),
            ]);
        }

        return schema;
    }

    public IEnumerable<Leaf<T>> Leaves(string path) => fields.SelectMany(f => f.Leaves(path));
}
