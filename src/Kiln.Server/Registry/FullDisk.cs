using System.Data.Common;
using Microsoft.Data.Sqlite;
using Npgsql;

namespace Kiln.Server.Registry;

/// <summary>Whether something failed because there was no room for it: blobs, or the database itself.</summary>
internal static class FullDisk
{
    // ENOSPC, and EDQUOT: the file system's own quota for the server's user.
    private const int NoSpaceLeft = 28;
    private const int QuotaExceeded = 122;

    // SQLITE_FULL (https://sqlite.org/rescode.html#full)
    private const int SqliteFull = 13;

    public static bool Is(Exception exception) =>
        exception switch
        {
            IOException e => e.HResult is NoSpaceLeft or QuotaExceeded,
            SqliteException e => e.SqliteErrorCode == SqliteFull,
            PostgresException e => e.SqlState == PostgresErrorCodes.DiskFull,
            DbException { InnerException: { } inner } => Is(inner),
            _ => false,
        };
}
