using System.Text.Json;

namespace Kiln.Cli.Verification;

/// <summary>Says in which members two image configs differ.</summary>
internal static class ConfigComparison
{
    private const int MaxDifferences = 50;
    private const int MaxText = 120;

    public static IReadOnlyList<string> Differences(byte[]? ours, byte[]? theirs)
    {
        if (ours is null || theirs is null)
        {
            return ["config: it cannot be read"];
        }

        try
        {
            using var left = JsonDocument.Parse(ours);
            using var right = JsonDocument.Parse(theirs);
            var found = new List<string>();
            Compare("config", left.RootElement, right.RootElement, found);
            return found.Count > 0 ? found : ["config: it is written differently and says the same"];
        }
        catch (JsonException)
        {
            return ["config: it is no JSON"];
        }
    }

    public static IEnumerable<string> Differences(
        IReadOnlyDictionary<string, string>? ours,
        IReadOnlyDictionary<string, string>? theirs
    ) =>
        from key in (ours?.Keys ?? []).Union(theirs?.Keys ?? [], StringComparer.Ordinal).Order(StringComparer.Ordinal)
        let left = ours?.GetValueOrDefault(key)
        let right = theirs?.GetValueOrDefault(key)
        where left != right
        select $"{key}: {Short(left)}, now {Short(right)}";

    private static void Compare(string path, JsonElement? ours, JsonElement? theirs, List<string> found)
    {
        if (found.Count >= MaxDifferences || (ours is { } a && theirs is { } b && JsonElement.DeepEquals(a, b)))
        {
            return;
        }

        if (ours is { ValueKind: JsonValueKind.Object } left && theirs is { ValueKind: JsonValueKind.Object } right)
        {
            var names = left.EnumerateObject()
                .Concat(right.EnumerateObject())
                .Select(m => m.Name)
                .Distinct(StringComparer.Ordinal);
            foreach (var name in names.Order(StringComparer.Ordinal))
            {
                Compare($"{path}.{name}", Member(left, name), Member(right, name), found);
            }
        }
        else if (ours is { ValueKind: JsonValueKind.Array } some && theirs is { ValueKind: JsonValueKind.Array } others)
        {
            for (var i = 0; i < Math.Max(some.GetArrayLength(), others.GetArrayLength()); i++)
            {
                Compare($"{path}[{i}]", Item(some, i), Item(others, i), found);
            }
        }
        else
        {
            found.Add($"{path}: {Short(ours?.GetRawText())}, now {Short(theirs?.GetRawText())}");
        }
    }

    private static JsonElement? Member(JsonElement element, string name) =>
        element.TryGetProperty(name, out var value) ? value : null;

    private static JsonElement? Item(JsonElement array, int index) =>
        index < array.GetArrayLength() ? array[index] : null;

    private static string Short(string? text) =>
        text is null ? "absent"
        : text.Length <= MaxText ? text
        : text[..MaxText] + "…";
}
