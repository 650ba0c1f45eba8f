using System.Formats.Tar;
using System.Text;

namespace Kiln.Inspect;

/// <summary>What is wrong with an archive.</summary>
/// <param name="TooLarge">True where it is over a limit, false where it is broken.</param>
public sealed record TarFault(string Message, bool TooLarge = false);

/// <summary>One pass over a plain tar; what is broken in it becomes a sentence, not an exception.</summary>
internal static class TarWalk
{
    /// <summary>The longest path that is read, in bytes (Linux: PATH_MAX).</summary>
    public const int MaxPathBytes = 4096;

    /// <summary>Calls <paramref name="visit"/> for each entry with its cleaned path, in the archive's order.</summary>
    /// <returns>Null, or what is wrong with the archive.</returns>
    public static async Task<TarFault?> ReadAsync(
        Stream tar,
        int maxEntries,
        Func<TarEntry, string, ValueTask<TarFault?>> visit,
        CancellationToken cancel
    )
    {
        var count = 0;
        try
        {
            // Neither ends the archive's stream: what follows the last entry is read by the caller.
#pragma warning disable CA2000 // it owns nothing but the stream
            await using var reader = new TarReader(new TarHeaderGuard(tar), leaveOpen: true);
#pragma warning restore CA2000
            while (await reader.GetNextEntryAsync(copyData: false, cancel) is { } entry)
            {
                if (entry.EntryType is TarEntryType.GlobalExtendedAttributes)
                {
                    continue;
                }

                if (++count > maxEntries)
                {
                    return new TarFault($"the archive has more than {maxEntries} entries", TooLarge: true);
                }

                if (Clean(entry.Name, out var path) is { } broken)
                {
                    return new TarFault(broken);
                }

                if (await visit(entry, path) is { } fault)
                {
                    return fault;
                }
            }

            return null;
        }
        catch (OversizeException e)
        {
            return new TarFault(e.Message, TooLarge: true);
        }
        catch (Exception e)
            when (e
                    is InvalidDataException
                        or EndOfStreamException
                        or FormatException
                        or ArgumentException
                        or OverflowException
                        or NotSupportedException
                        or ZstdSharp.ZstdException
            )
        {
            return new TarFault($"the archive is damaged after {count} entries: {e.Message}");
        }
    }

    /// <summary>
    /// The path without <c>./</c>, doubled and trailing slashes; empty for the root itself. A path that is absolute or
    /// has a <c>..</c> component is a fault.
    /// </summary>
    public static string? Clean(string name, out string path) =>
        Clean(name, Encoding.UTF8.GetByteCount(name), out path);

    /// <summary>The same of a name that is bytes in another form.</summary>
    /// <param name="name">The name.</param>
    /// <param name="bytes">How many it has.</param>
    /// <param name="path">The path.</param>
    public static string? Clean(string name, int bytes, out string path)
    {
        path = "";
        if (name.StartsWith('/'))
        {
            return $"the archive has an absolute path, '{Shorten(name)}'";
        }

        if (name.Contains('\0', StringComparison.Ordinal) || bytes > MaxPathBytes)
        {
            return $"the archive has a path that cannot be, '{Shorten(name)}'";
        }

        var bare = name.AsSpan(name.StartsWith("./", StringComparison.Ordinal) ? 2 : 0);
        bare = bare.EndsWith('/') ? bare[..^1] : bare;
        if (IsClean(bare))
        {
            path = bare.Length == name.Length ? name : bare.ToString();
            return null;
        }

        var parts = name.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (Array.IndexOf(parts, "..") >= 0)
        {
            return $"the archive has a path that leaves it, '{Shorten(name)}'";
        }

        path = string.Join('/', parts.Where(p => p != "."));
        return null;
    }

    // Nearly all are, and there are many.
    private static bool IsClean(ReadOnlySpan<char> name)
    {
        foreach (var part in name.Split('/'))
        {
            if (name[part] is "" or "." or "..")
            {
                return false;
            }
        }

        return true;
    }

    public static string Shorten(string text) =>
        text.Length <= 120 ? text.Replace('\0', '?') : text[..120].Replace('\0', '?') + "…";
}
