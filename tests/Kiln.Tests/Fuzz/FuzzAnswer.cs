using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Tests.Fuzz;

/// <summary>What came back: text with one character for each byte.</summary>
/// <param name="Head">Status line and headers; empty where the connection was closed without a word.</param>
/// <param name="Complete">Whether all that was announced came.</param>
internal sealed record FuzzAnswer(string Head, string Body, bool Complete)
{
    // An answer of the registry itself has it, one of the HTTP library has not.
    private const string Mark = "\r\nDocker-Distribution-Api-Version: registry/2.0\r\n";

    private static readonly HashSet<string> Codes =
    [
        .. new[] { typeof(ErrorCodes), typeof(BuildErrors) }
            .SelectMany(t => t.GetFields())
            .Select(f => ((ErrorCode)f.GetValue(null)!).Code),
    ];

    /// <summary>Whether something came after the answer.</summary>
    public bool More { get; init; }

    public int Status =>
        Head.Length > 12
        && int.TryParse(Head.AsSpan(9, 3), NumberStyles.None, CultureInfo.InvariantCulture, out var code)
            ? code
            : 0;

    /// <summary>What is wrong with the answer; null where nothing is.</summary>
    public string? FaultFor(FuzzCase made)
    {
        if (Head.Length == 0)
        {
            return made.Framed ? "the connection was closed without an answer" : null;
        }

        if (!Head.StartsWith("HTTP/1.1 ", StringComparison.Ordinal) || Status is < 200 or > 599)
        {
            return "the answer is no HTTP";
        }

        if (Head.Contains("\nX-Injected", StringComparison.OrdinalIgnoreCase))
        {
            return "a header came from the request";
        }

        if (!Complete && !made.IsFollowing)
        {
            return "the answer did not come to its end";
        }

        if (More && made.Framed)
        {
            return "one request was answered twice";
        }

        return Head.Contains(Mark, StringComparison.Ordinal) ? OwnFault(made) : LibraryFault(made);
    }

    /// <summary>Reads one answer, after any number of interim ones.</summary>
    public static async Task<FuzzAnswer> ReadAsync(NetworkStream stream, bool isHead, CancellationToken cancel)
    {
        var received = new MemoryStream();
        var buffer = new byte[32 << 10];
        var whole = false;
        try
        {
            int read;
            while (!(whole = IsWhole(received, isHead)) && (read = await stream.ReadAsync(buffer, cancel)) > 0)
            {
                received.Write(buffer, 0, read);
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // What came is judged.
        }

        var (head, rest) = Split(received);
        var length = LengthOfBody(head, rest, isHead);
        // Without a length, the end of the connection is the end.
        var byClose = head.Length > 0 && LengthOf(head) is null && !cancel.IsCancellationRequested && !IsChunked(head);
        return new FuzzAnswer(head, length < rest.Length ? rest[..length.Value] : rest, whole || byClose)
        {
            More = length < rest.Length,
        };
    }

    private string? OwnFault(FuzzCase made)
    {
        if (Status >= 500 && Status != 503)
        {
            return $"the registry failed: {Body}";
        }

        if (Status < 400 || made.Method == "HEAD" || IsElsewhere(made))
        {
            return null;
        }

        if (!Head.Contains("\r\nContent-Type: application/json\r\n", StringComparison.Ordinal))
        {
            return "an error is not in the OCI envelope";
        }

        try
        {
            using var json = JsonDocument.Parse(Encoding.Latin1.GetBytes(Body));
            var error = json.RootElement.GetProperty("errors").EnumerateArray().Single();
            var (code, message) = (error.GetProperty("code").GetString()!, error.GetProperty("message").GetString()!);
            return !Codes.Contains(code) ? $"the code {code} is in no table"
                : message.Length < 10 ? "the message says nothing"
                : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            return $"the error's body is no OCI envelope: {e.Message}";
        }
    }

    private string? LibraryFault(FuzzCase made) =>
        made.Framed ? "the HTTP library answered what the registry ought to"
        : Status is 400 or 405 or 408 or 411 or 413 or 414 or 417 or 421 or 431 or 501 or 505 && Body.Length == 0 ? null
        : "neither the registry nor the HTTP library answers like this";

    // A path that is nobody's gets a sentence for people.
    private bool IsElsewhere(FuzzCase made) =>
        Status == 404
        && Head.Contains("\r\nContent-Type: text/plain", StringComparison.Ordinal) is var text
        && (text || !Head.Contains("\r\nContent-Type", StringComparison.Ordinal))
        && !made.Target.StartsWith("/v2/", StringComparison.Ordinal);

    private static (string Head, string Body) Split(MemoryStream received)
    {
        var text = Encoding.Latin1.GetString(received.GetBuffer(), 0, (int)received.Length);
        while (true)
        {
            var end = text.IndexOf("\r\n\r\n", StringComparison.Ordinal);
            if (end < 0)
            {
                return ("", "");
            }

            var head = text[..(end + 2)];
            text = text[(end + 4)..];
            if (!head.StartsWith("HTTP/1.1 1", StringComparison.Ordinal))
            {
                return (head, text);
            }
        }
    }

    private static bool IsWhole(MemoryStream received, bool isHead)
    {
        // Most answers are small: looking at all of it each time costs nothing then, and large ones are rare.
        var (head, body) = Split(received);
        if (head.Length == 0)
        {
            return false;
        }

        return LengthOfBody(head, body, isHead) is { } length && body.Length >= length;
    }

    // Null while it cannot be known. Another answer may follow at once, where the rest of a body was taken for a request.
    private static int? LengthOfBody(string head, string body, bool isHead) =>
        isHead || (head.Length > 12 && head[9..12] is "204" or "304") ? 0
        : IsChunked(head) ? LengthOfChunks(body)
        : (int?)LengthOf(head);

    private static int? LengthOfChunks(string body)
    {
        for (var at = 0; body.IndexOf("\r\n", at, StringComparison.Ordinal) is >= 0 and var line; )
        {
            var size = int.Parse(body[at..line], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            at = line + 2 + size + 2;
            if (size == 0 || at > body.Length)
            {
                return at <= body.Length ? at : null;
            }
        }

        return null;
    }

    private static bool IsChunked(string head) =>
        head.Contains("\r\nTransfer-Encoding: chunked\r\n", StringComparison.OrdinalIgnoreCase);

    private static long? LengthOf(string head)
    {
        const string name = "\r\nContent-Length: ";
        var at = head.IndexOf(name, StringComparison.OrdinalIgnoreCase);
        return at < 0
            ? null
            : long.Parse(head[(at + name.Length)..].Split('\r')[0], NumberStyles.None, CultureInfo.InvariantCulture);
    }
}
