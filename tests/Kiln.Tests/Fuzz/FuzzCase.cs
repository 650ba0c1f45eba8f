using System.Globalization;
using System.Text;

namespace Kiln.Tests.Fuzz;

/// <summary>
/// One request as it goes over the wire, one character for each byte. Ids that a server makes are written as a
/// placeholder of the same length, so that a kept case works on every server.
/// </summary>
/// <param name="Text">The request's bytes as Latin-1.</param>
/// <param name="Framed">Whether it is right HTTP, so that the registry itself has to answer it.</param>
internal sealed record FuzzCase(string Text, bool Framed)
{
    /// <summary>An upload session of <c>fuzz/a</c>.</summary>
    public const string Session = "SESSIONsessionSESSIONsession1234";

    /// <summary>A job of <c>fuzz/a</c>.</summary>
    public const string Job = "JOBjobJOBjobJOBjob1234";

    /// <summary>Curl's command lines end somewhere.</summary>
    private const int MaxCurlBody = 8 << 10;

    public string Method => Text.Split(' ', 2)[0];

    /// <summary>The request's target, as it stands in the first line.</summary>
    public string Target => Text.Split('\n', 2)[0].Split(' ') is [_, var target, ..] ? target.TrimEnd('\r') : "";

    /// <summary>Whether nobody but an HTTP/1.1 client that waits for more would send it.</summary>
    public bool IsFollowing =>
        Text.Contains("follow", StringComparison.OrdinalIgnoreCase)
        || Text.Contains("event-stream", StringComparison.OrdinalIgnoreCase);

    /// <summary>The bytes to send, with ids in the placeholders' places.</summary>
    public byte[] Bytes(string session, string job) =>
        Encoding.Latin1.GetBytes(
            Text.Replace(Session, session, StringComparison.Ordinal).Replace(Job, job, StringComparison.Ordinal)
        );

    /// <summary>A request out of its parts. A length is added unless the headers say one, and a host likewise.</summary>
    public static FuzzCase Of(
        string method,
        string target,
        IReadOnlyList<(string Name, string Value)> headers,
        string body,
        bool framed
    )
    {
        var text = new StringBuilder($"{method} {target} HTTP/1.1\r\n");
        if (!Has(headers, "Host"))
        {
            text.Append("Host: localhost\r\n");
        }

        foreach (var (name, value) in headers)
        {
            text.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");
        }

        if (!Has(headers, "Content-Length") && !Has(headers, "Transfer-Encoding"))
        {
            text.Append(CultureInfo.InvariantCulture, $"Content-Length: {body.Length}\r\n");
        }

        return new FuzzCase(text.Append("\r\n").Append(body).ToString(), framed);
    }

    /// <summary>The request as somebody would send it by hand, for bash.</summary>
    /// <param name="file">Where its bytes are kept.</param>
    public string Curl(string url, string file)
    {
        var end = Text.IndexOf("\r\n\r\n", StringComparison.Ordinal);
        var lines = (end < 0 ? Text : Text[..end]).Split("\r\n");
        var body = end < 0 ? "" : Text[(end + 4)..];
        var first = lines[0].Split(' ');
        if (!Framed || first.Length != 3 || body.Length > MaxCurlBody)
        {
            var address = new Uri(url);
            return $"nc -q 5 {address.Host} {address.Port} < {file}";
        }

        var command = new StringBuilder($"printf {Quote(body.Replace("%", "%%", StringComparison.Ordinal))} | ");
        command.Append(CultureInfo.InvariantCulture, $"curl -sSi -X {Quote(first[0])} --data-binary @-");
        foreach (var line in lines.Skip(1).Where(l => !l.StartsWith("Content-Length:", StringComparison.Ordinal)))
        {
            command.Append(CultureInfo.InvariantCulture, $" -H {Quote(line)}");
        }

        return command.Append(CultureInfo.InvariantCulture, $" --request-target {Quote(first[1])} {url}/").ToString();
    }

    private static bool Has(IReadOnlyList<(string Name, string Value)> headers, string name) =>
        headers.Any(h => h.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    private static string Quote(string text)
    {
        var quoted = new StringBuilder("$'");
        foreach (var c in text)
        {
            quoted.Append(
                c is '\'' or '\\' ? $"\\{c}"
                : c == '\0' ? "\\\\0"
                : c is < ' ' or > '~' ? $"\\x{(int)c:x2}"
                : c.ToString()
            );
        }

        return quoted.Append('\'').ToString();
    }
}
