using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Nodes;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Configuration;

/// <summary>A value that may be absent where nothing is said.</summary>
/// <param name="inner">What it is where it is there.</param>
/// <param name="none">A word for its absence, where there is a standard to overrule; null where there is no such word.</param>
internal sealed class OptionalKind<TValue>(Kind<TValue> inner, string? none = null) : Kind<TValue?>
    where TValue : struct
{
    public override string? Placeholder => inner.Placeholder;

    public override JsonObject Schema() =>
        none is null
            ? inner.Schema()
            : new JsonObject { ["anyOf"] = new JsonArray(inner.Schema(), new JsonObject { ["const"] = none }) };

    public override JsonNode? Show(TValue? value) => value is { } there ? inner.Show(there) : none;

    public override bool TryRead(YamlNode node, YamlReader yaml, string what, [NotNullWhen(true)] out TValue? value)
    {
        value = null;
        if (none is not null && node is YamlScalarNode { Value: { } text } && text == none)
        {
#pragma warning disable CS8762 // null is what the word stands for
            return true;
#pragma warning restore CS8762
        }

        if (!inner.TryRead(node, yaml, what, out var there))
        {
            return false;
        }

        value = there;
        return true;
    }

    public override string? FromWords(IReadOnlyList<string> words, string folder, out TValue? value)
    {
        value = null;
        if (none is not null && words is [var word] && word == none)
        {
            return null;
        }

        var fault = inner.FromWords(words, folder, out var there);
        value = there;
        return fault;
    }
}
