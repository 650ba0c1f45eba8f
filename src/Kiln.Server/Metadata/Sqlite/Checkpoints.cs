using Microsoft.Data.Sqlite;

namespace Kiln.Server.Metadata.Sqlite;

/// <summary>
/// Brings what the write-ahead log has gathered into the database, on a thread and a connection of its own. SQLite would do
/// it in the commit that crosses a bound, and everybody who waits for that commit would wait for many pages to be written and
/// synced.
/// </summary>
internal sealed class Checkpoints : IDisposable
{
    // Commits after which there is enough to bring over; SQLite's own bound are 1000 pages.
    private const int Commits = 100;

    // Commits after which whoever writes brings them over: the thread gets too little of the processor to keep up.
    private const int MaxCommits = 3 * Commits;

    // Pages of 4 KiB in the log beyond which whoever writes next brings over what the thread has left: only when nothing is
    // left is the log written from its beginning again.
    private const long MaxFrames = 8000;

    private readonly SqliteConnection _connection;
    private readonly Lock _one = new();
    private readonly SemaphoreSlim _due = new(0, 1);
    private readonly Thread _thread;
    private volatile bool _over;
    private volatile bool _long;
    private int _commits;

    /// <param name="connection">For this alone; closed at the end.</param>
    public Checkpoints(SqliteConnection connection)
    {
        _connection = connection;
        _thread = new Thread(Run) { IsBackground = true, Name = "checkpoints" };
        _thread.Start();
    }

    /// <summary>Something was committed. Called by whoever writes, one at a time.</summary>
    public void Committed()
    {
        var behind = Interlocked.Increment(ref _commits);
        if (_long || behind >= MaxCommits)
        {
            Checkpoint();
            _long = false;
        }
        else if (behind >= Commits && _due.CurrentCount == 0)
        {
            _due.Release();
        }
    }

    public void Dispose()
    {
        _over = true;
        if (_due.CurrentCount == 0)
        {
            _due.Release();
        }

        _thread.Join();
        _due.Dispose();
        _connection.Dispose();
    }

    private void Run()
    {
        while (true)
        {
            _due.Wait();
            if (_over)
            {
                return;
            }

            // Waiting for a moment in which nobody writes could take for ever.
            _long = Checkpoint() > MaxFrames;
        }
    }

    // PASSIVE waits for nobody and keeps nobody waiting: what readers still need stays where it is. The answer is the pages
    // in the log.
    private long Checkpoint()
    {
        lock (_one)
        {
            // What is committed meanwhile counts on: else a thread that is slow enough would let the log grow by as much again
            // each time, and nobody would step in.
            var seen = Volatile.Read(ref _commits);
            try
            {
                using var command = new SqliteCommand("PRAGMA wal_checkpoint(PASSIVE)", _connection);
                using var row = command.ExecuteReader();
                return row.Read() ? row.GetInt64(1) : 0;
            }
            catch (SqliteException)
            {
                // A full disk, a broken one: the next commit meets it too, and has somebody to tell.
                return 0;
            }
            finally
            {
                Interlocked.Add(ref _commits, -seen);
            }
        }
    }
}
