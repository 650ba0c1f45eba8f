using Microsoft.Extensions.Logging;

namespace Kiln.Node.Notifications;

/// <summary>
/// Notifications that wait to be looked at, each a file that is durable before the registry hears that it was taken:
/// <code>
/// wishes/KEY.json
/// </code>
/// </summary>
internal sealed partial class WishSpool
{
    private readonly string _folder;
    private readonly NotificationOptions _options;
    private readonly Dictionary<string, Wish> _wishes = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private readonly Wakeup _wakeup = new();

    public WishSpool(NotificationOptions options, ILogger log)
    {
        _options = options;
        _folder = System.IO.Directory.CreateDirectory(Path.Combine(options.Directory, "wishes")).FullName;
        var (wishes, broken) = DurableFile.ReadAll(_folder, NotificationJson.Default.Wish);
        foreach (var wish in wishes)
        {
            _wishes[wish.Key] = wish;
            if (options.Registries.All(registry => registry.Name != wish.Registry))
            {
                Remove(wish);
            }
        }

        foreach (var path in broken)
        {
            LogBroken(log, path);
            File.Delete(path);
        }
    }

    public IReadOnlyList<Wish> All
    {
        get
        {
            lock (_lock)
            {
                return [.. _wishes.Values.OrderBy(w => w.Received)];
            }
        }
    }

    /// <summary>Keeps a wish; durable when this returns.</summary>
    /// <returns>What keeps it from being kept; null where it is.</returns>
    public WishRefusal? Add(Wish wish)
    {
        lock (_lock)
        {
            if (!_wishes.ContainsKey(wish.Key))
            {
                if (_wishes.Count >= _options.MaxWaiting)
                {
                    return WishRefusal.Full;
                }

                if (
                    _wishes.Values.Count(w => (w.Registry, w.Repository) == (wish.Registry, wish.Repository))
                    >= _options.MaxWaitingInRepository
                )
                {
                    return WishRefusal.RepositoryFull;
                }
            }

            Write(wish);
        }

        _wakeup.Set();
        return null;
    }

    /// <summary>Ends when something has changed.</summary>
    public Task Changed => _wakeup.Changed;

    /// <summary>The oldest wish of a registry that may be looked at now; null where there is none.</summary>
    /// <param name="now">Milliseconds since 1970.</param>
    public Wish? Next(string registry, long now)
    {
        lock (_lock)
        {
            return _wishes.Values.Where(w => w.Registry == registry && w.NotBefore <= now).MinBy(w => w.Received);
        }
    }

    /// <summary>When the next wish of a registry may be looked at; null where none waits.</summary>
    public long? NextDue(string registry)
    {
        lock (_lock)
        {
            return _wishes.Values.Where(w => w.Registry == registry).Min(w => (long?)w.NotBefore);
        }
    }

    /// <summary>Puts a wish off, unless a newer one has come in its place.</summary>
    public void Replace(Wish wish, Wish with)
    {
        lock (_lock)
        {
            if (_wishes.GetValueOrDefault(wish.Key) == wish)
            {
                Write(with);
            }
        }
    }

    /// <summary>Forgets a wish, unless a newer one has come in its place.</summary>
    public void Remove(Wish wish)
    {
        lock (_lock)
        {
            if (_wishes.GetValueOrDefault(wish.Key) == wish)
            {
                _wishes.Remove(wish.Key);
                File.Delete(PathOf(wish));
            }
        }
    }

    private void Write(Wish wish)
    {
        DurableFile.Write(PathOf(wish), wish, NotificationJson.Default.Wish);
        _wishes[wish.Key] = wish;
    }

    private string PathOf(Wish wish) => Path.Combine(_folder, wish.Key + ".json");

    [LoggerMessage(Level = LogLevel.Warning, Message = "{File} cannot be read and is dropped; push that recipe again")]
    private static partial void LogBroken(ILogger log, string file);
}

/// <summary>Why a wish is not kept.</summary>
internal enum WishRefusal
{
    /// <summary>Too many wait; it should be sent again.</summary>
    Full,

    /// <summary>Too many of its repository wait; it is dropped.</summary>
    RepositoryFull,
}
