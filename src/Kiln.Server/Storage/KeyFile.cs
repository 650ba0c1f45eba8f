using System.Security.Cryptography;

namespace Kiln.Server.Storage;

/// <summary>A secret key in a file that only the server's user can read (mode 0600).</summary>
internal static class KeyFile
{
    /// <summary>The key; a new one where there is none yet.</summary>
    /// <exception cref="InvalidDataException">The file does not hold a key of that size.</exception>
    public static byte[] ReadOrCreate(string path, int bytes)
    {
        if (!File.Exists(path))
        {
            var fresh = path + ".new";
            var options = new FileStreamOptions
            {
                Mode = FileMode.Create,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            };
            using (var file = new FileStream(fresh, options))
            {
                file.Write(RandomNumberGenerator.GetBytes(bytes));
                file.Flush(flushToDisk: true);
            }

            File.Move(fresh, path);
        }

        var key = File.ReadAllBytes(path);
        return key.Length == bytes
            ? key
            : throw new InvalidDataException($"{path} does not hold a key of {bytes} bytes");
    }
}
