using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Hooks;

/// <summary>A row of <c>hooks</c>, with what the outbox knows of its receiver.</summary>
internal sealed record HookRow
{
    private const string Columns =
        "h.id, h.url, h.events, h.filter, h.secret, h.origin, h.per_minute, h.created_by, h.created, t.id, t.stopped, t.error";

    public required string Id { get; init; }
    public required string Url { get; init; }
    public required IReadOnlyList<string> Events { get; init; }
    public HookFilter? Filter { get; init; }
    public required ReadOnlyMemory<byte> Secret { get; init; }
    public required string Origin { get; init; }
    public int? PerMinute { get; init; }
    public required string CreatedBy { get; init; }
    public required long Created { get; init; }
    public required bool Active { get; init; }
    public string? Error { get; init; }

    /// <summary>The receiver's id in the outbox.</summary>
    public string Target => TargetOf(Id);

    public static string TargetOf(string id) => HookTargets.IdPrefix + id;

    /// <summary>The hooks of a repository, in the order in which they were made.</summary>
    public static List<HookRow> Of(DbConnection connection, long repository) =>
        connection.Query(
            $"""
            SELECT {Columns} FROM hooks h LEFT JOIN delivery_targets t ON t.id = '{HookTargets.IdPrefix}' || h.id
            WHERE h.repository = @repository ORDER BY h.id
            """,
            Map,
            ("repository", repository)
        );

    /// <summary>One hook; null where there is none.</summary>
    public static HookRow? Find(DbConnection connection, string id) =>
        connection
            .Query(
                $"""
                SELECT {Columns} FROM hooks h LEFT JOIN delivery_targets t ON t.id = '{HookTargets.IdPrefix}' || h.id
                WHERE h.id = @id
                """,
                Map,
                ("id", id)
            )
            .FirstOrDefault();

    /// <summary>The hook as its owners see it.</summary>
    public Hook View() =>
        new()
        {
            Id = Id,
            Url = Url,
            Events = Events,
            Filter = Filter,
            Active = Active,
            Error = Error,
            CreatedBy = CreatedBy,
            Created = DateTimeOffset.FromUnixTimeMilliseconds(Created),
        };

    private static HookRow Map(DbDataReader row) =>
        new()
        {
            Id = row.GetString(0),
            Url = row.GetString(1),
            Events = JsonSerializer.Deserialize(row.GetString(2), BuildJson.Default.IReadOnlyListString)!,
            Filter = row.TextOrNull(3) is { } filter
                ? JsonSerializer.Deserialize(filter, BuildJson.Default.HookFilter)
                : null,
            Secret = row.GetFieldValue<byte[]>(4),
            Origin = row.GetString(5),
            PerMinute = (int?)row.LongOrNull(6),
            CreatedBy = row.GetString(7),
            Created = row.GetInt64(8),
            Active = !row.IsDBNull(9) && row.IsDBNull(10),
            Error = row.TextOrNull(11),
        };
}
