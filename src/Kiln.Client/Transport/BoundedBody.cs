namespace Kiln.Client.Transport;

/// <summary>Reads a small answer whole; a larger one than allowed is not read.</summary>
internal static class BoundedBody
{
    /// <exception cref="InvalidDataException">The body is longer than <paramref name="limit"/> bytes.</exception>
    public static async Task<byte[]> ReadAsync(HttpResponseMessage response, int limit, CancellationToken cancel)
    {
        await using var stream = await response.Content.ReadAsStreamAsync(cancel);
        return await ReadAsync(stream, limit, cancel);
    }

    /// <inheritdoc cref="ReadAsync(HttpResponseMessage, int, CancellationToken)"/>
    public static async Task<byte[]> ReadAsync(Stream stream, int limit, CancellationToken cancel)
    {
        using var whole = new MemoryStream();
        var buffer = new byte[16 * 1024];
        for (int read; (read = await stream.ReadAsync(buffer, cancel)) > 0; )
        {
            if (whole.Length + read > limit)
            {
                throw new InvalidDataException($"the answer is longer than {limit} bytes");
            }

            whole.Write(buffer, 0, read);
        }

        return whole.ToArray();
    }
}
