using System.Data.Common;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Kiln.Server.Metadata;

/// <summary>What can happen to a name, as the journal has it.</summary>
internal static class JournalOps
{
    /// <summary>A repository came to be.</summary>
    public const string Repository = "repository";

    /// <summary>A repository with nothing in it went.</summary>
    public const string Unrepository = "unrepository";

    /// <summary>A repository sees a blob.</summary>
    public const string Link = "link";
    public const string Unlink = "unlink";

    /// <summary>A repository has a manifest, whose bytes are the blob of its digest.</summary>
    public const string Manifest = "manifest";
    public const string Unmanifest = "unmanifest";

    /// <summary>A tag points at a manifest.</summary>
    public const string Tag = "tag";
    public const string Untag = "untag";
}

/// <summary>One thing that happened to a name. What an entry says holds until a later one says otherwise.</summary>
internal sealed record JournalEntry
{
    /// <summary>One of <see cref="JournalOps"/>.</summary>
    [JsonPropertyName("op")]
    public required string Op { get; init; }

    [JsonPropertyName("repo")]
    public required string Repository { get; init; }

    [JsonPropertyName("tag")]
    public string? Tag { get; init; }

    [JsonPropertyName("digest")]
    public string? Digest { get; init; }

    /// <summary>The media type of a manifest.</summary>
    [JsonPropertyName("type")]
    public string? MediaType { get; init; }

    /// <summary>When it happened, in Unix milliseconds.</summary>
    [JsonPropertyName("time")]
    public required long Time { get; init; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(JournalEntry))]
internal sealed partial class JournalJson : JsonSerializerContext;

/// <summary>
/// What the journal is to have, kept in the database until the journal has it: the change and its entry are durable
/// together, and nobody's answer waits for the journal.
/// </summary>
internal static class JournalOutbox
{
    /// <summary>
    /// Notes an entry in the transaction of the change, after the change itself: so entries of the same name have their
    /// order on PostgreSQL too, where numbers are given out before commits.
    /// </summary>
    public static void Note(DbTransaction transaction, JournalEntry entry) =>
        transaction.Run(
            "INSERT INTO journal_outbox (entry) VALUES (@entry)",
            ("entry", JsonSerializer.Serialize(entry, JournalJson.Default.JournalEntry))
        );

    /// <summary>As <see cref="Note"/>, where the caller has only the key of the repository.</summary>
    public static void Note(DbTransaction transaction, long repository, JournalEntry entry) =>
        Note(
            transaction,
            entry with
            {
                Repository = transaction.Scalar<string>(
                    "SELECT name FROM repositories WHERE id = @id",
                    ("id", repository)
                )!,
            }
        );

    /// <summary>The oldest entries, in their order.</summary>
    /// <param name="limit">Entries at most.</param>
    public static List<(long Id, JournalEntry Entry)> Peek(DbConnection connection, int limit) =>
        connection.Query(
            "SELECT id, entry FROM journal_outbox ORDER BY id LIMIT @limit",
            row => (row.GetInt64(0), JsonSerializer.Deserialize(row.GetString(1), JournalJson.Default.JournalEntry)!),
            ("limit", (long)limit)
        );

    /// <summary>Whether there is anything.</summary>
    public static bool IsEmpty(DbConnection connection) =>
        connection.Scalar<long?>("SELECT id FROM journal_outbox LIMIT 1") is null;

    /// <summary>Removes entries that the journal has. Exactly these: one with a lower number may have come since.</summary>
    public static void Remove(DbTransaction transaction, IEnumerable<long> ids)
    {
        foreach (var chunk in ids.Chunk(1000))
        {
            transaction.Run($"DELETE FROM journal_outbox WHERE id IN ({string.Join(',', chunk)})");
        }
    }
}
