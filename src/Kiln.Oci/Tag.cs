using System.Diagnostics.CodeAnalysis;

namespace Kiln.Oci;

/// <summary>A tag: <c>[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}</c> (distribution-spec, "Pulling manifests").</summary>
public sealed record Tag
{
    public const int MaxLength = 128;

    private Tag(string value) => Value = value;

    public string Value { get; }

    public override string ToString() => Value;

    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out Tag? tag)
    {
        tag =
            text is { Length: > 0 and <= MaxLength } && text[0] is not ('.' or '-') && text.All(IsAllowed)
                ? new Tag(text)
                : null;
        return tag is not null;
    }

    public static Tag Parse(string text) =>
        TryParse(text, out var tag) ? tag : throw new FormatException($"'{text}' is not a tag");

    private static bool IsAllowed(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-';
}
