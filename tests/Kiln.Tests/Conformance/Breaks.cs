using System.Text;
using System.Text.Json.Nodes;

namespace Kiln.Tests.Conformance;

/// <summary>Ways to break an exchange.</summary>
internal static class Breaks
{
    /// <summary>Whether the query has a text.</summary>
    public static bool Has(Exchange e, string text) => e.Query.Contains(text, StringComparison.Ordinal);

    public static void Status(Exchange e, bool when, int status)
    {
        if (when)
        {
            e.Status = status;
        }
    }

    public static void Without(Exchange e, string header, bool when = true)
    {
        if (when)
        {
            e.Headers.Remove(header);
        }
    }

    public static void Header(Exchange e, string name, string value, bool when = true)
    {
        if (when && e.Headers.ContainsKey(name))
        {
            e.Headers[name] = value;
        }
    }

    public static void AnswerIf(Exchange e, bool when, int status, string body = "")
    {
        if (when)
        {
            e.Answer(status, body);
        }
    }

    public static void EditIf(Exchange e, bool when, Action<JsonNode> edit)
    {
        if (when)
        {
            e.Edit(edit);
        }
    }

    /// <summary>The body without its last byte.</summary>
    public static void Shorten(Exchange e, bool when)
    {
        if (when && e.Body.Length > 0)
        {
            e.Body = e.Body[..^1];
        }
    }

    public static void Replace(Exchange e, string old, string with) =>
        e.Body = Encoding.UTF8.GetBytes(e.Text.Replace(old, with, StringComparison.Ordinal));

    /// <summary>The registry never hears of it, and the client gets this.</summary>
    public static void Swallow(Exchange e, bool when, int status, string? location = null)
    {
        if (when)
        {
            e.Swallowed = status;
            if (location is not null)
            {
                e.Headers["Location"] = location;
            }
        }
    }

    public static void Reverse(JsonArray items)
    {
        var reversed = items.Select(item => item?.DeepClone()).Reverse().ToList();
        items.Clear();
        reversed.ForEach(items.Add);
    }

    /// <summary>An error in its form.</summary>
    public static string Error(string code) => $$"""{"errors":[{"code":"{{code}}","message":"broken"}]}""";

    /// <summary>Whether a job in the answer is in a state.</summary>
    public static bool State(Exchange e, string state) => BreakingProxy.Parse(e.Body)?["state"]?.ToString() == state;

    public static bool IsJson(Exchange e) => e.RequestHeaders.GetValueOrDefault("Content-Type") == "application/json";

    public static bool Asks(Exchange e, string text) => e.RequestText.Contains(text, StringComparison.Ordinal);

    public static bool Prefers(Exchange e, string text) =>
        e.RequestHeaders.GetValueOrDefault("Prefer")?.Contains(text, StringComparison.Ordinal) is true;

    public static void Is(Exchange e, string preferred, Action then)
    {
        if (e.RequestHeaders.GetValueOrDefault("Prefer") == preferred)
        {
            then();
        }
    }

    public static void Drop(Exchange e, string header, bool when)
    {
        if (when)
        {
            e.RequestHeaders.Remove(header);
        }
    }

    public static void EditRequestIf(Exchange e, bool when, Action<JsonNode> edit)
    {
        if (when)
        {
            e.EditRequest(edit);
        }
    }

    /// <summary>What was refused is said to be a job.</summary>
    public static void Take(Exchange e, string text, string? without = null) =>
        AnswerIf(e, e.Status >= 400 && Asks(e, text) && (without is null || !Asks(e, without)), 202, "{}");

    /// <summary>Changes a job in a state when it is asked for the n-th time in it.</summary>
    public static Action<Exchange> Once(string state, int time, Action<JsonNode> edit)
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        return e =>
        {
            if (e.Text.Contains($"\"state\":\"{state}\"", StringComparison.Ordinal))
            {
                seen[e.Path] = seen.GetValueOrDefault(e.Path) + 1;
                EditIf(e, seen[e.Path] == time, edit);
            }
        };
    }

    /// <summary>The second request of the same gets an error.</summary>
    public static Action<Exchange> Second(int status, string code)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return e => AnswerIf(e, !seen.Add(e.Method + e.Path), status, Error(code));
    }
}
