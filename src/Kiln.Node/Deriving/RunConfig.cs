using System.Globalization;
using System.Text.Json;

namespace Kiln.Node.Deriving;

/// <summary>What an image's config says of how it is run, as far as it concerns other formats.</summary>
internal sealed record RunConfig
{
    public IReadOnlyList<(string Name, string Value)> Environment { get; init; } = [];
    public IReadOnlyList<string> Entrypoint { get; init; } = [];
    public IReadOnlyList<string> Command { get; init; } = [];
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new SortedDictionary<string, string>();
    public string Architecture { get; init; } = "";

    /// <summary>When the image was made, in seconds since 1970; 0 where it does not say.</summary>
    public long Created { get; init; }

    /// <exception cref="JsonException">It is not JSON, or a text in it is not Unicode.</exception>
    public static RunConfig Read(ReadOnlyMemory<byte> bytes)
    {
        using var document = JsonDocument.Parse(bytes);
        var root = document.RootElement;
        try
        {
            var run = Member(root, "config") ?? default;
            return new RunConfig
            {
                Environment =
                [
                    .. Texts(run, "Env")
                        .Select(e => e.Split('=', 2))
                        .Where(e => e.Length == 2 && IsName(e[0]))
                        .Select(e => (e[0], e[1])),
                ],
                Entrypoint = Texts(run, "Entrypoint"),
                Command = Texts(run, "Cmd"),
                Labels = LabelsOf(run),
                Architecture = Text(Member(root, "architecture")) ?? "",
                Created = Seconds(Text(Member(root, "created"))),
            };
        }
        catch (InvalidOperationException e)
        {
            // What the reader says of an escape such as \ud800 without its other half.
            throw new JsonException("a text in it is not valid Unicode", e);
        }
    }

    // What a shell can export. Others exist, and no shell script can set them.
    private static bool IsName(string name) =>
        name.Length > 0 && !char.IsAsciiDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_');

    // squashfs has 32 bits for times.
    private static long Seconds(string? text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
            ? Math.Clamp(time.ToUnixTimeSeconds(), 0, int.MaxValue)
            : 0;

    private static SortedDictionary<string, string> LabelsOf(JsonElement run)
    {
        var labels = new SortedDictionary<string, string>(StringComparer.Ordinal);
        if (Member(run, "Labels") is { ValueKind: JsonValueKind.Object } all)
        {
            foreach (var label in all.EnumerateObject())
            {
                labels[label.Name] = Text(label.Value) ?? "";
            }
        }

        return labels;
    }

    private static List<string> Texts(JsonElement run, string name) =>
        Member(run, name) is { ValueKind: JsonValueKind.Array } list
            ? [.. list.EnumerateArray().Select(t => Text(t) ?? "")]
            : [];

    private static string? Text(JsonElement? value) =>
        value is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    private static JsonElement? Member(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) ? value : null;
}
