using System.Buffers;
using System.Globalization;
using System.Text.Json;

namespace Kiln.Server.Delivery;

/// <summary>An event as CloudEvents 1.0 has it, in JSON with all in one body ("structured mode").</summary>
internal static class CloudEvent
{
    public const string MediaType = "application/cloudevents+json";

    /// <summary>Writes an event.</summary>
    /// <param name="source">A URI reference: of the repository.</param>
    /// <param name="data">Writes the members of <c>data</c>.</param>
    public static byte[] Write(
        string id,
        string type,
        string source,
        string subject,
        DateTimeOffset time,
        Action<Utf8JsonWriter> data
    )
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("specversion", "1.0");
            json.WriteString("id", id);
            json.WriteString("type", type);
            json.WriteString("source", source);
            json.WriteString("subject", subject);
            json.WriteString("time", Text(time));
            json.WriteString("datacontenttype", "application/json");
            json.WriteStartObject("data");
            data(json);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static string Text(DateTimeOffset time) =>
        time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
}
