using System.Buffers;
using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.Client.Registry;

/// <summary>A blob on its way to a file.</summary>
internal sealed class BlobFile(Descriptor blob, string path, string action)
{
    private const int BufferBytes = 256 * 1024;

    /// <summary>Reads from what <paramref name="open"/> gives for an offset until the blob is whole, and verifies it.</summary>
    public async Task FillAsync(Func<long, Task<Stream>> open, RegistryClientOptions options, CancellationToken cancel)
    {
        var temporary = $"{path}.{Guid.NewGuid():N}.part";
        try
        {
            await using (var file = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 0))
            {
                using var hash = Digest.Start(blob.Digest.Algorithm);
                await CopyAsync(open, file, hash, options, cancel);
                var actual = Digest.Finish(blob.Digest.Algorithm, hash);
                if (actual != blob.Digest)
                {
                    throw Broken($"what came has digest {actual}; it was thrown away");
                }

                file.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            // Gone already where all went well.
            File.Delete(temporary);
        }
    }

    /// <summary>Reads <paramref name="count"/> bytes and forgets them.</summary>
    public static async Task SkipAsync(Stream stream, long count, CancellationToken cancel)
    {
        var buffer = new byte[64 * 1024];
        while (count > 0)
        {
            var read = await stream.ReadAsync(buffer.AsMemory(0, (int)Math.Min(count, buffer.Length)), cancel);
            if (read == 0)
            {
                throw new EndOfStreamException("the blob is shorter than before");
            }

            count -= read;
        }
    }

    private async Task CopyAsync(
        Func<long, Task<Stream>> open,
        FileStream file,
        IncrementalHash hash,
        RegistryClientOptions options,
        CancellationToken cancel
    )
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            for (var attempt = 1; file.Length < blob.Size || attempt == 1; attempt++)
            {
                try
                {
                    await using var body = await open(file.Length);
                    await CopyOnceAsync(body, file, hash, buffer, cancel);
                }
                catch (Exception e) when (attempt < options.Attempts && IsCut(e))
                {
                    await Task.Delay(options.FirstPause * attempt, options.Time, cancel);
                    continue;
                }

                if (file.Length < blob.Size && attempt >= options.Attempts)
                {
                    throw Broken($"only {file.Length} of {blob.Size} bytes came");
                }
            }
        }
        catch (RegistryException e) when (e.Status == 416)
        {
            // The registry's blob ends where we want to go on.
            throw Broken($"only {file.Length} of {blob.Size} bytes are there", e);
        }
        catch (HttpRequestException e)
        {
            throw new RegistryException(RegistryFault.Unreachable, action, e.Message, e);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task CopyOnceAsync(
        Stream body,
        FileStream file,
        IncrementalHash hash,
        byte[] buffer,
        CancellationToken cancel
    )
    {
        for (int read; (read = await ReadAsync(body, buffer, cancel)) > 0; )
        {
            if (file.Length + read > blob.Size)
            {
                throw Broken($"more than the {blob.Size} bytes that were announced came; it was thrown away");
            }

            hash.AppendData(buffer, 0, read);
            await file.WriteAsync(buffer.AsMemory(0, read), cancel);
        }
    }

    private static bool IsCut(Exception e) =>
        e is HttpRequestException or RegistryException { Fault: RegistryFault.Unreachable };

    // Told apart from what the file system says: only a broken connection is worth another try.
    private static async Task<int> ReadAsync(Stream body, byte[] buffer, CancellationToken cancel)
    {
        try
        {
            return await body.ReadAsync(buffer.AsMemory(0, BufferBytes), cancel);
        }
        catch (IOException e)
        {
            throw new HttpRequestException(HttpRequestError.ResponseEnded, e.Message, e);
        }
    }

    private RegistryException Broken(string why, Exception? inner = null) =>
        new(RegistryFault.Broken, action, why, inner);
}
