using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>What an upstream said, for a while. At most a number of things; when there are more, the old ones go.</summary>
internal sealed class Remembered<T>(TimeProvider time, int max)
{
    private readonly ConcurrentDictionary<string, (T Value, DateTimeOffset Until)> _known = new(StringComparer.Ordinal);

    public bool TryGet(string key, [MaybeNullWhen(false)] out T value)
    {
        var found = _known.TryGetValue(key, out var entry) && entry.Until > time.GetUtcNow();
        value = found ? entry.Value : default;
        return found;
    }

    public void Keep(string key, T value, TimeSpan age)
    {
        var now = time.GetUtcNow();
        if (_known.Count >= max)
        {
            foreach (var (old, entry) in _known)
            {
                if (entry.Until <= now)
                {
                    _known.TryRemove(old, out _);
                }
            }
        }

        if (_known.Count >= max)
        {
            _known.Clear();
        }

        _known[key] = (value, now + age);
    }
}
