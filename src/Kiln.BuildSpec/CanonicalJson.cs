using System.Globalization;
using System.Text;

namespace Kiln.BuildSpec;

/// <summary>
/// RFC 8785 for the subset that Kiln hashes: objects, arrays, strings and whole numbers. Members are sorted by UTF-16
/// code units; strings escape only what JSON demands.
/// </summary>
public static class CanonicalJson
{
    /// <param name="value">A string, a long, a list of values or a dictionary from names to values.</param>
    public static string Write(object value)
    {
        var text = new StringBuilder();
        Append(text, value);
        return text.ToString();
    }

    private static void Append(StringBuilder text, object value)
    {
        switch (value)
        {
            case string s:
                AppendString(text, s);
                break;
            case long n:
                text.Append(n.ToString(CultureInfo.InvariantCulture));
                break;
            case IReadOnlyDictionary<string, object> members:
                AppendJoined(text, '{', '}', members.OrderBy(m => m.Key, StringComparer.Ordinal), AppendMember);
                break;
            case IReadOnlyList<object> items:
                AppendJoined(text, '[', ']', items, Append);
                break;
            default:
                throw new ArgumentException($"{value.GetType()} has no canonical form", nameof(value));
        }
    }

    private static void AppendMember(StringBuilder text, KeyValuePair<string, object> member)
    {
        AppendString(text, member.Key);
        text.Append(':');
        Append(text, member.Value);
    }

    private static void AppendJoined<T>(
        StringBuilder text,
        char open,
        char close,
        IEnumerable<T> items,
        Action<StringBuilder, T> append
    )
    {
        text.Append(open);
        var first = true;
        foreach (var item in items)
        {
            if (!first)
            {
                text.Append(',');
            }

            first = false;
            append(text, item);
        }

        text.Append(close);
    }

    // RFC 8785, 3.2.2.2
    private static void AppendString(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (var c in value)
        {
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\b' => text.Append("\\b"),
                '\t' => text.Append("\\t"),
                '\n' => text.Append("\\n"),
                '\f' => text.Append("\\f"),
                '\r' => text.Append("\\r"),
                < ' ' => text.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture)),
                _ => text.Append(c),
            };
        }

        text.Append('"');
    }
}
