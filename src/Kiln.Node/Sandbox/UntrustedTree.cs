namespace Kiln.Node.Sandbox;

/// <summary>
/// Files that a build left behind, read after everything of it has ended: no component of a path may be a link, since a
/// link could name any file that the node can read.
/// </summary>
internal sealed class UntrustedTree(string root)
{
    /// <summary>Opens a regular file below the root; null where there is none or a link is in the way.</summary>
    public FileStream? Open(params ReadOnlySpan<string> components)
    {
        var path = Walk(components);
        var handle = path is null ? null : Posix.OpenRegularFile(path);
        return handle is null ? null : new FileStream(handle, FileAccess.Read, 1 << 16);
    }

    /// <summary>The path of a directory below the root, or null.</summary>
    public string? Directory(params ReadOnlySpan<string> components)
    {
        var path = Walk(components);
        return path is not null && new DirectoryInfo(path) is { Exists: true, LinkTarget: null } ? path : null;
    }

    /// <summary>The bytes of a file of at most <paramref name="limit"/> bytes, or null.</summary>
    public byte[]? Read(int limit, params ReadOnlySpan<string> components)
    {
        using var file = Open(components);
        if (file is null || file.Length > limit)
        {
            return null;
        }

        var bytes = new byte[file.Length];
        file.ReadExactly(bytes);
        return bytes;
    }

    private string? Walk(ReadOnlySpan<string> components)
    {
        var path = root;
        foreach (var component in components)
        {
            if (
                component is "" or "." or ".."
                || component.Contains('/', StringComparison.Ordinal)
                || new DirectoryInfo(path).LinkTarget is not null
            )
            {
                return null;
            }

            path = Path.Combine(path, component);
        }

        return path;
    }
}
