using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Configuration;

/// <summary>Something wrong in a file, or suspicious in it.</summary>
/// <param name="Line">From 1; 0 for the file as a whole.</param>
internal sealed record FileFault(string File, int Line, string Message, bool IsWarning = false)
{
    public override string ToString() => Line == 0 ? $"{File}: {Message}" : $"{File}:{Line}: {Message}";
}

/// <summary>Reads YAML nodes and notes what is wrong with them, instead of stopping at the first fault.</summary>
internal sealed class YamlReader(string file, List<FileFault> faults)
{
    /// <summary>The folder of the file, that other files which it names are relative to.</summary>
    public string Folder { get; } = Path.GetDirectoryName(Path.GetFullPath(file)) ?? "/";

    private const int MaxFileBytes = 1 << 20;

    /// <summary>Reads a file of at most a megabyte, which may be empty; what is wrong with it is noted.</summary>
    /// <returns>What was read; <paramref name="otherwise"/> where there is nothing to read.</returns>
    public static T ReadFile<T>(string file, List<FileFault> faults, T otherwise, Func<YamlNode, YamlReader, T> read)
    {
        try
        {
            if (new FileInfo(file).Length > MaxFileBytes)
            {
                faults.Add(new(file, 0, $"has more than {MaxFileBytes} bytes"));
                return otherwise;
            }

            var yaml = new YamlReader(file, faults);
            return yaml.Load(File.ReadAllText(file), mayBeEmpty: true) is { } root ? read(root, yaml) : otherwise;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            faults.Add(new(file, 0, $"cannot be read: {e.Message}"));
            return otherwise;
        }
    }

    /// <summary>What was noted so far.</summary>
    public int FaultCount => faults.Count;

    public void Fault(YamlNode? node, string message) => faults.Add(new(file, LineOf(node), message));

    public void Warn(YamlNode? node, string message) => faults.Add(new(file, LineOf(node), message, IsWarning: true));

    public static int LineOf(YamlNode? node) => (int)(node?.Start.Line ?? 0);

    /// <summary>The one document of a text; null where it is none.</summary>
    /// <param name="mayBeEmpty">Whether a text without any document is right.</param>
    public YamlNode? Load(string text, bool mayBeEmpty = false)
    {
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            if (stream.Documents.Count == 1)
            {
                return stream.Documents[0].RootNode;
            }

            if (stream.Documents.Count > 0 || !mayBeEmpty)
            {
                faults.Add(new(file, 0, $"has {stream.Documents.Count} YAML documents; write one"));
            }
        }
        catch (YamlException e)
        {
            faults.Add(new(file, (int)e.Start.Line, $"is not YAML: {e.InnerException?.Message ?? e.Message}"));
        }

        return null;
    }

    /// <summary>The entries of a mapping whose keys are known; an unknown key is a fault.</summary>
    public Dictionary<string, YamlNode> Map(YamlNode node, string what, params ReadOnlySpan<string> keys)
    {
        var entries = new Dictionary<string, YamlNode>(StringComparer.Ordinal);
        if (node is not YamlMappingNode mapping)
        {
            Fault(node, $"{what} must be a mapping with the keys {string.Join(", ", keys)}");
            return entries;
        }

        foreach (var (key, value) in mapping)
        {
            var name = (key as YamlScalarNode)?.Value ?? "";
            if (keys.Contains(name))
            {
                entries[name] = value;
            }
            else
            {
                Fault(key, $"{what} has no key '{name}'; {Nearest.Advice(name, keys)}");
            }
        }

        return entries;
    }

    /// <summary>The items of a list; a single value counts as a list of one.</summary>
    public IReadOnlyList<YamlNode> List(YamlNode node, string what)
    {
        if (node is YamlSequenceNode sequence)
        {
            if (sequence.Children.Count == 0)
            {
                Fault(node, $"{what} must not be empty");
            }

            return [.. sequence.Children];
        }

        return [node];
    }

    /// <summary>A text; null, and a fault, where it is none.</summary>
    public string? Text(YamlNode node, string what)
    {
        if (node is YamlScalarNode { Value: { Length: > 0 } value })
        {
            return value;
        }

        Fault(node, $"{what} must be a text");
        return null;
    }

    public IReadOnlyList<string> Texts(YamlNode node, string what) =>
        [.. List(node, what).Select(n => Text(n, what)).OfType<string>()];

    /// <summary>Whether a node stands for nothing: <c>key:</c> with no value, or <c>null</c>.</summary>
    public static bool IsNothing(YamlNode node) =>
        node is YamlScalarNode { Style: ScalarStyle.Plain, Value: null or "" or "~" or "null" };

    /// <summary>A whole number; <paramref name="otherwise"/>, and a fault, where it is none or out of range.</summary>
    public int Number(YamlNode node, string what, int max, int otherwise)
    {
        if (
            int.TryParse(Text(node, what), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number <= max
        )
        {
            return number;
        }

        Fault(node, $"{what} must be a whole number from 0 to {max}");
        return otherwise;
    }
}
