using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace Kiln.Oci;

/// <summary>
/// The <c>&lt;name&gt;</c> of a repository (distribution-spec, "Pulling manifests"): at most 255 characters.
/// Since a component cannot start with <c>_</c>, an extension's path can never be mistaken for a name.
/// </summary>
public sealed partial record RepositoryName
{
    public const int MaxLength = 255;

    private RepositoryName(string value) => Value = value;

    public string Value { get; }

    public override string ToString() => Value;

    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out RepositoryName? name)
    {
        name = text is { Length: > 0 and <= MaxLength } && Grammar().IsMatch(text) ? new RepositoryName(text) : null;
        return name is not null;
    }

    public static RepositoryName Parse(string text) =>
        TryParse(text, out var name) ? name : throw new FormatException($"'{text}' is not a repository name");

    [GeneratedRegex(
        @"\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Grammar();
}
