namespace Kiln.Server.Registry;

/// <summary>A part of a list in order, and whether there is more after it.</summary>
internal sealed record Page<T>(IReadOnlyList<T> Items, bool More)
{
    /// <summary>Cuts to <paramref name="limit"/> a query that asked for one row more than that.</summary>
    public static Page<T> Of(int limit, List<T> rows)
    {
        if (rows.Count <= limit)
        {
            return new(rows, More: false);
        }

        rows.RemoveRange(limit, rows.Count - limit);
        return new(rows, More: true);
    }
}
