using System.Data.Common;
using System.Text;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;

namespace Kiln.Server.Builds.Progress;

/// <summary>
/// The logs of executions: one append-only stream of bytes for each, over all its attempts, so that an offset never
/// means two things (build-extension, decision 7).
/// </summary>
internal sealed class BuildLog(BuildOptions options, Executions executions)
{
    /// <summary>Bytes of a segment at most, so that reading a piece of a log does not read much more.</summary>
    private const int SegmentBytes = 64 << 10;

    /// <summary>Appends to an execution's log; past the limit bytes are dropped, and the log says so once.</summary>
    public void Append(DbTransaction transaction, string execution, ReadOnlyMemory<byte> text)
    {
        var row = Executions.Find(transaction.Connection!, execution);
        if (row is null || row.LogTruncated || text.IsEmpty)
        {
            return;
        }

        var room = options.MaxLogBytes - row.LogSize;
        var truncated = text.Length > room;
        var size = row.LogSize;
        if (truncated)
        {
            text = text[..Utf8.CompleteLength(text.Span[..(int)Math.Max(0, room)])];
        }

        size = Write(transaction, execution, size, text);
        if (truncated)
        {
            var notice = $"\n[the log is longer than {options.MaxLogBytes} bytes; the rest was dropped]\n";
            size = Write(transaction, execution, size, Encoding.UTF8.GetBytes(notice));
        }

        transaction.Run(
            "UPDATE executions SET log_size = @size, log_truncated = @truncated WHERE id = @id",
            ("id", execution),
            ("size", size),
            ("truncated", truncated ? 1 : 0)
        );
        var added = size - row.LogSize;
        QueuedWork.Current(transaction).AfterCommit.Add(() => Meters.LogBytes.Add(added));
        executions.Wake(transaction, execution);
    }

    /// <summary>Reads at most <paramref name="buffer"/>'s length of bytes of one execution's log.</summary>
    /// <returns>How many were read; 0 at the end.</returns>
    public static int Read(DbConnection connection, string execution, long offset, Span<byte> buffer)
    {
        var segments = connection.Query(
            """
            SELECT start, content FROM log_segments
            WHERE execution = @execution AND start < @end AND start >= COALESCE(
                (SELECT MAX(start) FROM log_segments WHERE execution = @execution AND start <= @offset), 0)
            ORDER BY start
            """,
            row => (Start: row.GetInt64(0), Content: row.GetFieldValue<byte[]>(1)),
            ("execution", execution),
            ("offset", offset),
            ("end", offset + buffer.Length)
        );
        var read = 0;
        foreach (var (start, content) in segments)
        {
            var skip = (int)Math.Max(0, offset + read - start);
            if (skip < content.Length)
            {
                var piece = content.AsSpan(skip);
                piece = piece[..Math.Min(piece.Length, buffer.Length - read)];
                piece.CopyTo(buffer[read..]);
                read += piece.Length;
            }
        }

        return read;
    }

    private static long Write(DbTransaction transaction, string execution, long start, ReadOnlyMemory<byte> text)
    {
        while (!text.IsEmpty)
        {
            var piece = text[..Math.Min(text.Length, SegmentBytes)];
            transaction.Run(
                "INSERT INTO log_segments (execution, start, content) VALUES (@execution, @start, @content)",
                ("execution", execution),
                ("start", start),
                ("content", piece.ToArray())
            );
            start += piece.Length;
            text = text[piece.Length..];
        }

        return start;
    }
}
