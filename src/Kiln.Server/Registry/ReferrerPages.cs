namespace Kiln.Server.Registry;

/// <summary>One answer to a request for referrers.</summary>
/// <param name="Index">The image index, as JSON.</param>
/// <param name="Count">Descriptors in it.</param>
/// <param name="Next">The position that the next page begins after; null where there is none.</param>
internal sealed record ReferrerPage(byte[] Index, int Count, string? Next);

/// <summary>
/// Pages of referrers as they were last answered, each with the state of the list that it was made from: an answer whose
/// state is not the database's is never given. So nothing has to be forgotten when something is pushed, by whichever server.
/// </summary>
internal sealed class ReferrerPages
{
    // Of all pages together.
    private const int MaxBytes = 16 << 20;
    private const int MaxPageBytes = 2 << 20;

    // Shorter ones are made as fast as they are found.
    private const int MinCount = 16;

    private readonly Lock _lock = new();
    private readonly Dictionary<Key, (long State, ReferrerPage Page)> _pages = [];
    private readonly Queue<Key> _order = new();
    private long _bytes;

    /// <summary>What was asked for.</summary>
    public readonly record struct Key(string Repository, string Subject, string? ArtifactType, string? Last);

    /// <summary>The page that was made from this state of the list; null where there is none.</summary>
    public ReferrerPage? Find(Key key, long state)
    {
        lock (_lock)
        {
            return _pages.TryGetValue(key, out var kept) && kept.State == state ? kept.Page : null;
        }
    }

    /// <summary>Keeps a page, in place of the oldest ones where there is no room.</summary>
    /// <param name="state">Read before the page was.</param>
    public void Keep(Key key, long state, ReferrerPage page)
    {
        if (page.Count < MinCount || page.Index.Length > MaxPageBytes)
        {
            return;
        }

        lock (_lock)
        {
            if (_pages.TryGetValue(key, out var old))
            {
                _bytes -= old.Page.Index.Length;
            }
            else
            {
                _order.Enqueue(key);
            }

            _pages[key] = (state, page);
            _bytes += page.Index.Length;
            while (_bytes > MaxBytes)
            {
                _pages.Remove(_order.Dequeue(), out var oldest);
                _bytes -= oldest.Page.Index.Length;
            }
        }
    }
}
