using Kiln.Server.Metadata;

namespace Kiln.Server.Checking;

/// <summary>Whether the database itself can be read.</summary>
internal static class DatabaseCheck
{
    /// <summary>Asks SQLite to look through its file; a PostgreSQL is its operator's to check.</summary>
    public static bool IsSound(Database database, CheckRun run)
    {
        if (database.IsShared)
        {
            return true;
        }

        var says = database.Read(c => c.Query("PRAGMA quick_check(3)", row => row.GetString(0)));
        if (says is ["ok"])
        {
            return true;
        }

        run.Report(
            "database-damaged",
            "kiln.db",
            $"the database file is damaged: {string.Join("; ", says)}. Nothing else was checked",
            "make it anew from the journal and the blobs with: kiln fsck --rebuild"
        );
        return false;
    }
}
