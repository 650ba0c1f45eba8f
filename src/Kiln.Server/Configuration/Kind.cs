using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Nodes;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Configuration;

/// <summary>How a value is written in the configuration, and what it is then.</summary>
internal abstract class Kind<TValue>
{
    /// <summary>What stands for the value in help texts; null for a switch, which takes none.</summary>
    public virtual string? Placeholder => "VALUE";

    /// <summary>Whether a flag may be given several times.</summary>
    public virtual bool IsList => false;

    /// <summary>Whether the value can be given as words: in a flag or an environment variable.</summary>
    public virtual bool HasWords => true;

    /// <summary>What a JSON schema says of the value.</summary>
    public abstract JsonObject Schema();

    /// <summary>The value as it would be written; null where there is none.</summary>
    public abstract JsonNode? Show(TValue value);

    /// <summary>Reads it from the file; whatever is wrong is noted there.</summary>
    public abstract bool TryRead(YamlNode node, YamlReader yaml, string what, [NotNullWhen(true)] out TValue? value);

    /// <summary>Reads it from a flag's or a variable's words.</summary>
    /// <returns>What is wrong with them, as the end of a sentence; null where nothing is.</returns>
    public abstract string? FromWords(IReadOnlyList<string> words, string folder, out TValue? value);
}

/// <summary>A value that is one word.</summary>
/// <param name="placeholder">What stands for it in help texts.</param>
/// <param name="parse">The value, or what is wrong, as the end of a sentence. The second argument is the folder that names of
/// files are relative to.</param>
/// <param name="schema">What a JSON schema says of it.</param>
/// <param name="show">The value as it would be written.</param>
internal sealed class WordKind<TValue>(
    string? placeholder,
    Func<string, string, (TValue? Value, string? Fault)> parse,
    Func<JsonObject> schema,
    Func<TValue, JsonNode?> show
) : Kind<TValue>
{
    public override string? Placeholder => placeholder;

    public override JsonObject Schema() => schema();

    public override JsonNode? Show(TValue value) => value is null ? null : show(value);

    public override bool TryRead(YamlNode node, YamlReader yaml, string what, [NotNullWhen(true)] out TValue? value)
    {
        value = default;
        if (yaml.Text(node, what) is not { } text)
        {
            return false;
        }

        (value, var fault) = parse(text, yaml.Folder);
        if (fault is not null)
        {
            yaml.Fault(node, $"{what}: {fault}");
        }

        return fault is null && value is not null;
    }

    public override string? FromWords(IReadOnlyList<string> words, string folder, out TValue? value)
    {
        (value, var fault) = words.Count == 1 ? parse(words[0], folder) : (default, "takes one value");
        return fault;
    }
}

/// <summary>A list of words; a single one counts as a list of one.</summary>
internal sealed class WordsKind(Kind<string> item) : Kind<IReadOnlyList<string>>
{
    private const int MaxItems = 1000;

    public override string? Placeholder => item.Placeholder;

    public override bool IsList => true;

    public override JsonObject Schema() =>
        new()
        {
            ["oneOf"] = new JsonArray(
                item.Schema(),
                new JsonObject
                {
                    ["type"] = "array",
                    ["items"] = item.Schema(),
                    ["minItems"] = 1,
                    ["maxItems"] = MaxItems,
                }
            ),
        };

    public override JsonNode? Show(IReadOnlyList<string> value) =>
        value.Count == 0 ? null : new JsonArray([.. value.Select(v => (JsonNode?)JsonValue.Create(v))]);

    public override bool TryRead(
        YamlNode node,
        YamlReader yaml,
        string what,
        [NotNullWhen(true)] out IReadOnlyList<string>? value
    )
    {
        var nodes = yaml.List(node, what);
        if (nodes.Count > MaxItems)
        {
            yaml.Fault(node, $"{what} has {nodes.Count} entries; there may be {MaxItems}");
        }

        var values = new List<string>();
        foreach (var entry in nodes.Take(MaxItems))
        {
            if (item.TryRead(entry, yaml, what, out var word))
            {
                values.Add(word);
            }
        }

        value = values;
        return values.Count == nodes.Count;
    }

    public override string? FromWords(IReadOnlyList<string> words, string folder, out IReadOnlyList<string>? value)
    {
        var values = new List<string>();
        value = values;
        foreach (var word in words)
        {
            if (item.FromWords([word], folder, out var parsed) is { } fault)
            {
                return fault;
            }

            values.Add(parsed!);
        }

        return null;
    }
}

/// <summary>A list of mappings of one shape. It stands in the file only.</summary>
/// <param name="shape">An entry.</param>
/// <param name="empty">An entry in which nothing was said.</param>
internal sealed class ListKind<TItem>(Shape<TItem> shape, Func<TItem> empty) : Kind<IReadOnlyList<TItem>>
{
    private const int MaxItems = 1000;

    public override bool HasWords => false;

    public override JsonObject Schema() =>
        new()
        {
            ["type"] = "array",
            ["items"] = shape.Schema(empty()),
            ["maxItems"] = MaxItems,
        };

    public override JsonNode? Show(IReadOnlyList<TItem> value) => null;

    public override bool TryRead(
        YamlNode node,
        YamlReader yaml,
        string what,
        [NotNullWhen(true)] out IReadOnlyList<TItem>? value
    )
    {
        value = null;
        if (node is not YamlSequenceNode sequence)
        {
            yaml.Fault(node, $"{what} must be a list");
            return false;
        }

        if (sequence.Children.Count > MaxItems)
        {
            yaml.Fault(node, $"{what} has {sequence.Children.Count} entries; there may be {MaxItems}");
            return false;
        }

        value = [.. sequence.Children.Select(child => shape.Read(child, yaml, empty()))];
        return true;
    }

    public override string? FromWords(IReadOnlyList<string> words, string folder, out IReadOnlyList<TItem>? value)
    {
        value = null;
        return "can stand in the configuration file only";
    }
}
