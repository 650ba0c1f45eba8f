namespace Kiln.Inspect.Rewriting;

/// <summary>
/// Bytes of memory that what is kept of entries takes, roughly: an archive of a few megabytes can claim names and attributes
/// of many gigabytes.
/// </summary>
internal sealed class Weight
{
    /// <summary>More than that is not kept; what large images have takes a tenth of it.</summary>
    public const long Most = 512L << 20;

    // An object that stands for a name, and a pax record in its list.
    private const int Name = 200;
    private const int Record = 100;

    private long _bytes;

    /// <summary>Adds one name.</summary>
    /// <param name="length">Characters of its path, and of whatever else is kept with it.</param>
    /// <exception cref="OversizeException">There is too much.</exception>
    public void Add(long length) => AddBytes(Name + (2 * length));

    /// <summary>Adds an entry's pax records.</summary>
    /// <exception cref="OversizeException">There is too much.</exception>
    public void Add(IEnumerable<KeyValuePair<string, string>> records)
    {
        foreach (var (key, value) in records)
        {
            AddBytes(Record + (2L * (key.Length + value.Length)));
        }
    }

    private void AddBytes(long bytes)
    {
        _bytes += bytes;
        if (_bytes > Most)
        {
            throw new OversizeException("the paths and attributes of the image's entries are too long, or too many");
        }
    }
}
