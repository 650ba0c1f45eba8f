using System.Text;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Sqlite;

namespace Kiln.Tests.Metadata;

/// <summary>The write-ahead log of SQLite is brought over beside the commits, and does not grow for ever.</summary>
public sealed class CheckpointTests : IDisposable
{
    private const int Works = 1500;
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-wal-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string File => Path.Combine(_folder, "kiln.db");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task The_log_stays_small_however_much_is_written()
    {
        var text = new string('x', 64 << 10);
        using (var database = new SqliteDatabase(File, Durability.Relaxed))
        {
            for (var i = 0; i < Works; i++)
            {
                var name = $"n{i}";
                await database.WriteAsync(
                    transaction =>
                        transaction.Run(
                            "INSERT INTO layer_facts (digest, facts) VALUES (@name, @text)",
                            ("name", name),
                            ("text", text)
                        ),
                    Cancel
                );
            }

            // A hundred megabytes have been written; the bound and what came while the log was brought over are a third.
            Assert.InRange(new FileInfo(File + "-wal").Length, 1, 64 << 20);
        }

        using var again = new SqliteDatabase(File, Durability.Relaxed);
        Assert.Equal(Works, again.Read(c => c.Scalar<long>("SELECT COUNT(*) FROM layer_facts")));
    }
}
