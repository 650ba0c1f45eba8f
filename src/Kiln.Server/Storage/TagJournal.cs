using System.Globalization;
using System.Text;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Storage;

/// <summary>
/// An append-only text file beside the database: a line for each move of a tag,
/// <c>Unix milliseconds, repository, tag, digest or "-"</c>, separated by tabs. The database is the truth. A line is
/// written after the commit, so that a push that was rolled back never appears; it is not flushed, since the database
/// was, and this copy is for the day when the database is lost.
/// </summary>
internal sealed partial class TagJournal(DataDirectory directory, ILogger<TagJournal> log) : IDisposable
{
    private readonly FileStream _file = new(
        directory.TagJournal,
        new FileStreamOptions
        {
            Mode = FileMode.Append,
            Access = FileAccess.Write,
            Share = FileShare.Read,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        }
    );

    /// <summary>Notes that a tag points at <paramref name="digest"/> now, or at nothing. Called by one writer at a time.</summary>
    public void Append(DateTimeOffset time, RepositoryName repository, string tag, Digest? digest)
    {
        var line = string.Create(
            CultureInfo.InvariantCulture,
            $"{time.ToUnixTimeMilliseconds()}\t{repository}\t{tag}\t{digest?.ToString() ?? "-"}\n"
        );
        try
        {
            _file.Write(Encoding.UTF8.GetBytes(line));
        }
        catch (IOException e)
        {
            // The move itself is durable and must be answered as such.
            LogNotWritten(log, directory.TagJournal, e.Message);
        }
    }

    public void Dispose() => _file.Dispose();

    [LoggerMessage(Level = LogLevel.Error, Message = "{Path} lacks a tag's move: {Reason}")]
    private static partial void LogNotWritten(ILogger log, string path, string reason);
}
