using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Kiln.Node.Notifications;

/// <summary>Small JSON files that are there as a whole or as they were before, also after a power cut.</summary>
internal static partial class DurableFile
{
    private const string Temporary = ".new";
    private const int OpenReadOnlyDirectory = 0x10000;

    public static void Write<T>(string path, T value, JsonTypeInfo<T> type)
    {
        var temporary = path + Temporary;
        using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            JsonSerializer.Serialize(file, value, type);
            file.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
        Flush(Path.GetDirectoryName(path)!);
    }

    /// <summary>All files of a folder in the order of their names; the second list has those that cannot be read.</summary>
    public static (List<T> Read, List<string> Broken) ReadAll<T>(string folder, JsonTypeInfo<T> type)
        where T : class
    {
        var (read, broken) = (new List<T>(), new List<string>());
        foreach (var path in Directory.EnumerateFiles(folder, "*.json").Order(StringComparer.Ordinal))
        {
            try
            {
                using var file = File.OpenRead(path);
                read.Add(JsonSerializer.Deserialize(file, type) ?? throw new JsonException("it is null"));
            }
            catch (JsonException)
            {
                broken.Add(path);
            }
        }

        foreach (var left in Directory.EnumerateFiles(folder, "*" + Temporary))
        {
            File.Delete(left);
        }

        return (read, broken);
    }

    // A rename is durable when its folder is.
    private static void Flush(string folder)
    {
        var descriptor = Open(folder, OpenReadOnlyDirectory);
        if (descriptor >= 0)
        {
            _ = Sync(descriptor);
            _ = Close(descriptor);
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(int descriptor);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int descriptor);
}
