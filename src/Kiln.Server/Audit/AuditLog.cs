using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Audit;

/// <summary>
/// Writes each entry as a line of JSON, at once, to a file that is set aside when it has grown: <c>audit.log</c>,
/// <c>audit.log.1</c> and so on, the oldest of which goes. Or to standard error, or nowhere.
/// </summary>
internal sealed partial class AuditLog : IDisposable
{
    /// <summary>Instead of a file's name.</summary>
    public const string StandardError = "stderr";

    /// <summary>Instead of a file's name.</summary>
    public const string Off = "off";

    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    // Messages go to people and to log readers, never into HTML.
    private static readonly AuditJson Json = new(
        new JsonSerializerOptions(AuditJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }
    );

    private readonly string? _file;
    private readonly long _maxBytes;
    private readonly int _kept;
    private readonly TimeProvider _time;
    private readonly ILogger<AuditLog> _log;
    private readonly Lock _writing = new();
    private Stream? _stream;

    /// <exception cref="ServerStartException">The file cannot be written.</exception>
    public AuditLog(ServerOptions options, TimeProvider time, ILogger<AuditLog> log)
    {
        var where = options.Access.AuditLog ?? Path.Combine(options.DataDirectory, "audit.log");
        (_maxBytes, _kept, _time, _log) = (options.Access.AuditMaxBytes, options.Access.AuditFiles, time, log);
        switch (where)
        {
            case Off:
                break;
            case StandardError:
                _stream = Console.OpenStandardError();
                break;
            default:
                _file = Path.GetFullPath(where);
                _stream = Open();
                break;
        }
    }

    /// <summary>Writes an entry. A full disk does not stop the registry: it is told in the server's own log.</summary>
    public void Write(AuditEntry entry)
    {
        if (_stream is null && _file is null)
        {
            return;
        }

        var line = JsonSerializer.SerializeToUtf8Bytes(entry with { Time = _time.GetUtcNow() }, Json.AuditEntry);
        lock (_writing)
        {
            try
            {
                _stream ??= Open();
                _stream.Write([.. line, (byte)'\n']);
                _stream.Flush();
                if (_file is not null && _stream.Length >= _maxBytes)
                {
                    Rotate();
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ServerStartException)
            {
                LogLost(_log, entry.Action, e.Message);
            }
        }
    }

    public void Dispose() => _stream?.Dispose();

    private FileStream Open()
    {
        try
        {
            return new FileStream(
                _file!,
                new FileStreamOptions
                {
                    Mode = FileMode.Append,
                    Access = FileAccess.Write,
                    Share = FileShare.ReadWrite | FileShare.Delete,
                    UnixCreateMode = Private,
                    BufferSize = 0,
                }
            );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot write the audit log {_file}: {e.Message}", e);
        }
    }

    private void Rotate()
    {
        _stream!.Dispose();
        _stream = null;
        for (var number = _kept; number > 0; number--)
        {
            var from = number == 1 ? _file! : $"{_file}.{number - 1}";
            if (File.Exists(from))
            {
                File.Move(from, $"{_file}.{number}", overwrite: true);
            }
        }

        if (_kept == 0)
        {
            File.Delete(_file!);
        }

        _stream = Open();
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "the audit log lacks an entry of {Action}: {Why}")]
    private static partial void LogLost(ILogger log, string action, string why);
}
