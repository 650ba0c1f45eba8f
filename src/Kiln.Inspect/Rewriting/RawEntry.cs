using System.Text;

namespace Kiln.Inspect.Rewriting;

/// <summary>
/// One entry of a tar as it is written again. Names are bytes, each of them one character (Latin-1): what no encoding
/// understands stays what it is.
/// </summary>
public sealed record RawEntry
{
    public const char File = '0';
    public const char HardLink = '1';
    public const char SymbolicLink = '2';
    public const char CharacterDevice = '3';
    public const char BlockDevice = '4';
    public const char Directory = '5';
    public const char Fifo = '6';

    /// <summary>A file with holes as GNU tar wrote it before pax: the map of its parts follows the header.</summary>
    public const char OldSparse = 'S';

    /// <summary>Set-user-id and set-group-id.</summary>
    public const int SetIdBits = 0xc00;

    /// <summary>Without <c>./</c>, doubled and trailing slashes; empty for the root.</summary>
    public required string Path { get; init; }
    public required char Type { get; init; }

    /// <summary>Permission bits with set-id and sticky.</summary>
    public required int Mode { get; init; }
    public long Owner { get; init; }
    public long Group { get; init; }
    public string OwnerName { get; init; } = "";
    public string GroupName { get; init; } = "";

    /// <summary>Seconds since 1970.</summary>
    public long Modified { get; init; }

    /// <summary>Of a link, as it was written.</summary>
    public string Target { get; init; } = "";

    /// <summary>Bytes of content that follow in the archive.</summary>
    public long Size { get; init; }
    public long DeviceMajor { get; init; }
    public long DeviceMinor { get; init; }

    /// <summary>What pax headers say beside all of the above: attributes, the map of a file with holes.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Records { get; init; } = [];

    /// <summary>Of <see cref="OldSparse"/>: the header, and the blocks with the rest of the map.</summary>
    public byte[]? SparseHeader { get; init; }

    public bool IsDirectory => Type == Directory;
    public bool IsDevice => Type is CharacterDevice or BlockDevice;

    /// <summary>The last component of the path.</summary>
    public string Name => Path[(Path.LastIndexOf('/') + 1)..];

    /// <summary>Of a hard link, the path that it leads to, as <see cref="Path"/> is written; or what is wrong with it.</summary>
    internal string? CleanTarget(out string target)
    {
        var relative = Target.TrimStart('/');
        return TarWalk.Clean(relative, relative.Length, out target);
    }

    /// <summary>The path for people.</summary>
    public static string Show(string path) => Encoding.UTF8.GetString(Encoding.Latin1.GetBytes(path));
}

/// <summary>The extended attributes among an entry's pax records.</summary>
public static class RawAttributes
{
    private const string Schily = "SCHILY.xattr.";
    private const string Libarchive = "LIBARCHIVE.xattr.";

    /// <summary>The name of the attribute that a record holds; null where it holds none.</summary>
    public static string? NameOf(string record) =>
        record.StartsWith(Schily, StringComparison.Ordinal) ? record[Schily.Length..]
        : record.StartsWith(Libarchive, StringComparison.Ordinal) ? record[Libarchive.Length..]
        : null;

    public static bool IsCapability(string record) => NameOf(record) == "security.capability";

    public static bool IsAccessList(string record) =>
        NameOf(record)?.StartsWith("system.posix_acl_", StringComparison.Ordinal) is true
        || record.StartsWith("SCHILY.acl.", StringComparison.Ordinal);
}
