using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace Kiln.Conformance.Request;

/// <summary>The build key and the tree digest as section 8 of the extension describes them, made by themselves.</summary>
internal static class BuildKey
{
    /// <summary>The key of a document with the members of B-1.</summary>
    public static string Of(JsonObject document) => Content.Sha256(Encoding.UTF8.GetBytes(Canonical(document)));

    /// <summary>JSON in the one form that RFC 8785 allows, for strings, small whole numbers, lists and objects.</summary>
    public static string Canonical(JsonNode? node) =>
        node switch
        {
            JsonObject members => "{"
                + string.Join(
                    ',',
                    members
                        .OrderBy(member => member.Key, StringComparer.Ordinal)
                        .Select(member => $"{Quoted(member.Key)}:{Canonical(member.Value)}")
                )
                + "}",
            JsonArray items => "[" + string.Join(',', items.Select(Canonical)) + "]",
            JsonValue value when value.TryGetValue<string>(out var text) => Quoted(text),
            JsonValue value => value.ToJsonString(),
            _ => "null",
        };

    /// <summary>The tree digest (B-4) of an archive of directories, regular files and symbolic links, each once.</summary>
    public static string TreeDigest(byte[] tar)
    {
        var records = new SortedDictionary<string, byte[]>(new ByUtf8());
        using var reader = new TarReader(new MemoryStream(tar));
        while (reader.GetNextEntry() is { } entry)
        {
            var path = entry.Name.TrimEnd('/');
            for (
                var slash = path.IndexOf('/', StringComparison.Ordinal);
                slash > 0;
                slash = path.IndexOf('/', slash + 1)
            )
            {
                records.TryAdd(path[..slash], Record("d", "0755", "-", path[..slash]));
            }

            var mode = Convert.ToString((int)entry.Mode, 8).PadLeft(4, '0');
            records[path] = entry.EntryType switch
            {
                TarEntryType.Directory => Record("d", mode, "-", path),
                TarEntryType.SymbolicLink => Record(
                    "l",
                    "0777",
                    $"{Encoding.UTF8.GetByteCount(entry.LinkName)}:{entry.LinkName}",
                    path
                ),
                _ => Record(
                    "f",
                    mode,
                    Convert.ToHexStringLower(SHA256.HashData(entry.DataStream ?? Stream.Null)),
                    path
                ),
            };
        }

        return Content.Sha256(records.Values.SelectMany(record => record).ToArray());
    }

    private static byte[] Record(string type, string mode, string value, string path) =>
        Encoding.UTF8.GetBytes($"{type} {mode} {value} {Encoding.UTF8.GetByteCount(path)}:{path}\n");

    private static string Quoted(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
        {
            _ = c switch
            {
                '"' => quoted.Append("\\\""),
                '\\' => quoted.Append("\\\\"),
                '\n' => quoted.Append("\\n"),
                '\r' => quoted.Append("\\r"),
                '\t' => quoted.Append("\\t"),
                '\b' => quoted.Append("\\b"),
                '\f' => quoted.Append("\\f"),
                < ' ' => quoted.Append("\\u").Append(((int)c).ToString("x4")),
                _ => quoted.Append(c),
            };
        }

        return quoted.Append('"').ToString();
    }

    private sealed class ByUtf8 : IComparer<string>
    {
        public int Compare(string? x, string? y) =>
            Encoding.UTF8.GetBytes(x ?? "").AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(y ?? ""));
    }
}
