using System.Globalization;

namespace Kiln.Tests.Fuzz;

/// <summary>What is done to a request that was right.</summary>
internal static class FuzzMutations
{
    // What Kestrel takes before it answers by itself (docs/architecture.md, "What bad input gets").
    private const int MaxTarget = 15 << 10;
    private const int MaxHeaders = 28 << 10;
    private const int MaxHeaderCount = 90;

    private static readonly string[] Lengths =
    [
        "0",
        "1",
        "-1",
        "+5",
        "5 5",
        "0x10",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999999",
        "1,1",
        "",
        "abc",
    ];

    /// <summary>Headers that mean something somewhere, with hostile values.</summary>
    private static readonly (string Name, Func<Dice, string> Value)[] Headers =
    [
        ("Range", d => d.Of(Hostile.Ranges)),
        ("Content-Range", d => d.Of(Hostile.ContentRanges)),
        ("If-Match", d => d.Of(Hostile.Conditions)),
        ("If-None-Match", d => d.Of(Hostile.Conditions)),
        ("If-Range", d => d.Of(Hostile.Conditions)),
        ("If-Modified-Since", d => d.Of("Mon, 23 Nov 2026 08:00:00 GMT", "never", "")),
        ("Accept", d => d.Of(Hostile.Accepts)),
        ("Accept-Encoding", d => d.Of("gzip", "identity;q=0", "*;q=0", "\u00ff")),
        (
            "Prefer",
            d => d.Of("wait=0", "wait=-1", "wait=1", "wait=x", "respond-async", "wait=99999999999999999999", ";,;")
        ),
        ("Last-Event-ID", d => d.Of(Hostile.Numbers)),
        ("Authorization", d => d.Of(Hostile.Credentials)),
        ("Content-Type", d => d.Of(Hostile.Types)),
        ("Content-Encoding", d => d.Of("gzip", "br", "x")),
        ("Expect", d => d.Of("100-continue", "200-ok", "")),
        ("X-Forwarded-For", d => d.Of("1.2.3.4", "::1, evil", new string('1', 2000))),
        ("X-Forwarded-Host", d => d.Of("evil.example", "a\"b", "")),
        ("X-Forwarded-Proto", d => d.Of("https", "javascript", "")),
        ("Forwarded", d => d.Of("for=1.2.3.4;host=evil", ";;=")),
        ("Origin", d => d.Of("http://evil.example", "null")),
        (
            "Host",
            d => d.Of("localhost", "127.0.0.1:1", "evil.example", "[::1]", "", "a b", "a\u00ff", ":", "a:b", "%41")
        ),
        ("Connection", d => d.Of("close", "keep-alive", "upgrade", "Content-Length")),
        ("Upgrade", d => d.Of("h2c", "websocket")),
        ("HTTP2-Settings", _ => "AAMAAABkAAQAAP__"),
        ("Transfer-Encoding", d => d.Of("chunked", "identity", "gzip, chunked", "chunked, chunked", "x")),
        ("Content-Length", d => d.Of(Lengths)),
        ("Cookie", d => new string('c', d.Of(10, 4000))),
        ("X-\u00ff", _ => "1"),
        ("", _ => "no name"),
        ("X Y", _ => "1"),
        ("X-Long", d => new string('x', d.Of(1000, 20_000, 40_000))),
    ];

    /// <summary>Changes one thing.</summary>
    public static (string Method, string Target, string Body) Mutate(
        Dice dice,
        List<(string Name, string Value)> headers,
        (string Method, string Target, string Body) parts
    )
    {
        switch (dice.Below(10))
        {
            case < 5:
                var (name, value) = dice.Of(Headers);
                headers.Add((name, value(dice)));
                return parts;
            case 5 when headers.Count > 0:
                headers.Add(dice.Of<(string, string)>(headers));
                return parts;
            case 6:
                for (var i = dice.Of(1, 50, 200); i > 0; i--)
                {
                    headers.Add(($"X-{i}", "x"));
                }

                return parts;
            case 7:
                return parts with { Target = Change(dice, parts.Target) };
            case 8 when parts.Body.Length > 0:
                return parts with { Body = Change(dice, parts.Body) };
            default:
                return parts with
                {
                    Target = parts.Target + dice.Of("?", "&", "?n=1&n=2", "#x", "/", "//", "?tag=", "&%00", "?=", "?%"),
                };
        }
    }

    /// <summary>Changes bytes of the finished request, so that it may be no HTTP any more.</summary>
    public static FuzzCase Scramble(Dice dice, FuzzCase made)
    {
        var text = made.Text;
        for (var i = dice.Of(1, 1, 2, 8); i > 0; i--)
        {
            text = Change(dice, text);
        }

        return new FuzzCase(text, Framed: false);
    }

    /// <summary>Whether the registry itself, and not the HTTP library, has to answer a request.</summary>
    public static bool IsRight(string method, string target, List<(string Name, string Value)> headers)
    {
        var path = target.Split('?')[0];
        return method is "GET" or "HEAD" or "POST" or "PUT" or "PATCH" or "DELETE"
            && target.StartsWith('/')
            && target.Length <= MaxTarget
            && target.All(c => c is > ' ' and <= '~')
            && !path.Contains("%00", StringComparison.Ordinal)
            && headers.Count <= MaxHeaderCount
            && headers.Sum(h => h.Name.Length + h.Value.Length + 4) <= MaxHeaders
            && headers.TrueForAll(IsRight);
    }

    private static bool IsRight((string Name, string Value) header) =>
        header.Name.Length > 0
        && header.Name.All(c => char.IsAsciiLetterOrDigit(c) || c == '-')
        && header.Value.All(c => c is >= ' ' and <= '~')
        && header.Name
            is not ("Content-Length" or "Transfer-Encoding" or "Host" or "Expect" or "Upgrade" or "Connection");

    private static string Change(Dice dice, string text)
    {
        var at = dice.Below(text.Length + 1);
        return dice.Below(6) switch
        {
            0 => text.Insert(at, dice.Latin1(dice.Of(1, 1, 4, 40))),
            1 when at < text.Length => text.Remove(at, 1),
            2 when at < text.Length => text[..at],
            3 when at < text.Length => text[..at] + dice.Latin1(1) + text[(at + 1)..],
            4 => text.Insert(at, text[at..Math.Min(text.Length, at + 64)]),
            _ => text.Insert(
                at,
                dice.Of("\0", "\r\n", "\n", "%00", "%", "/", "..", "\u00ff", "{", "[", "\"", ",", "0")
            ),
        };
    }

    /// <summary>A body in chunks, as <c>Transfer-Encoding: chunked</c> has it.</summary>
    public static string Chunked(Dice dice, string body) =>
        string.Create(CultureInfo.InvariantCulture, $"{body.Length:x}{dice.Of("", ";a=b")}\r\n{body}\r\n0\r\n\r\n");
}
