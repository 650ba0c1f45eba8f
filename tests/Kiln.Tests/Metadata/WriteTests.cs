using System.Data.Common;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Metadata;

/// <summary>Writers who share transactions: each is answered for its own work, and only after the commit.</summary>
public sealed class WriteTests(ServerFixture fixture)
{
    private Database Database => fixture.Server.Services.GetRequiredService<Database>();

    [Fact]
    public async Task Part_that_is_refused_is_undone_with_all_that_was_to_follow_it()
    {
        var prefix = Samples.Repository();
        var done = new List<string>();
        await Database.WriteAsync(
            transaction =>
            {
                Insert(transaction, $"{prefix}/before");
                Database.AfterCommit(transaction, () => done.Add("before"));
                Assert.Throws<OciException>(() =>
                    Database.Attempt<bool>(
                        transaction,
                        () =>
                        {
                            Insert(transaction, $"{prefix}/part");
                            Database.AfterCommit(transaction, () => done.Add("part"));
                            throw new OciException(ErrorCodes.QuotaExceeded, "no more");
                        }
                    )
                );
                Insert(transaction, $"{prefix}/after");
                Database.AfterCommit(transaction, () => done.Add("after"));
            },
            CancellationToken.None
        );
        Assert.Equal(["before", "after"], done);
        Assert.Equal([$"{prefix}/after", $"{prefix}/before"], Names(prefix));
    }

    [Fact]
    public async Task Work_that_fails_among_others_is_undone_alone()
    {
        var prefix = Samples.Repository();
        using var gate = new ManualResetEventSlim();
        var first = Task.Run(() => Database.WriteAsync(_ => gate.Wait(), CancellationToken.None));
        while (first.Status < TaskStatus.WaitingForActivation)
        {
            await Task.Yield();
        }

        // They gather while the first one holds the writer, and then share a transaction.
        var works = Enumerable
            .Range(0, 20)
            .Select(i =>
                Database.WriteAsync(
                    transaction =>
                    {
                        Insert(transaction, $"{prefix}/{i:00}");
                        return i % 3 == 0 ? throw new InvalidOperationException($"{i}") : i;
                    },
                    CancellationToken.None
                )
            )
            .ToList();
        gate.Set();
        await first;
        for (var i = 0; i < works.Count; i++)
        {
            if (i % 3 == 0)
            {
                var fault = await Assert.ThrowsAsync<InvalidOperationException>(() => works[i]);
                Assert.Equal($"{i}", fault.Message);
            }
            else
            {
                Assert.Equal(i, await works[i]);
            }
        }

        Assert.Equal(Enumerable.Range(0, 20).Where(i => i % 3 != 0).Select(i => $"{prefix}/{i:00}"), Names(prefix));
    }

    [Fact]
    public async Task What_happens_after_a_commit_happens_in_order_and_not_for_what_was_undone()
    {
        var happened = new List<int>();
        var works = Enumerable
            .Range(0, 50)
            .Select(i =>
                Database.WriteAsync(
                    transaction =>
                    {
                        Database.AfterCommit(
                            transaction,
                            () =>
                            {
                                lock (happened)
                                {
                                    happened.Add(i);
                                }
                            }
                        );
                        if (i % 5 == 0)
                        {
                            throw new InvalidOperationException();
                        }
                    },
                    CancellationToken.None
                )
            )
            .ToList();
        foreach (var work in works)
        {
            await Record.ExceptionAsync(() => work);
        }

        // PostgreSQL runs transactions of several callers beside one another.
        Assert.Equal(
            Enumerable.Range(0, 50).Where(i => i % 5 != 0),
            TestState.IsPostgres ? happened.Order() : happened
        );
    }

    [Fact]
    public async Task Work_whose_caller_has_gone_is_not_done()
    {
        var name = Samples.Repository();
        using var cancel = new CancellationTokenSource();
        await cancel.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Database.WriteAsync(transaction => Insert(transaction, name), cancel.Token)
        );

        Assert.Empty(Names(name));
    }

    [Fact]
    public async Task A_server_that_stops_finishes_the_writes_that_it_took()
    {
        await using var server = await TestServer.StartAsync();
        var database = server.Services.GetRequiredService<Database>();
        var works = Enumerable
            .Range(0, 40)
            .Select(i =>
                Task.Run(() =>
                    database.WriteAsync(transaction => Insert(transaction, $"stop/{i}"), CancellationToken.None)
                )
            )
            .ToList();
        await works[0];

        await server.RestartAsync();

        var acknowledged = 0;
        foreach (var work in works)
        {
            acknowledged += await Record.ExceptionAsync(() => work) is null ? 1 : 0;
        }

        var kept = server.Services.GetRequiredService<Database>().Read(c => Names(c, "stop"));
        Assert.Equal(acknowledged, kept.Count);
    }

    [Fact]
    public async Task A_signal_wakes_after_the_commit_only()
    {
        var heard = new List<string?>();
        Database.Listen(topic =>
        {
            lock (heard)
            {
                heard.Add(topic);
            }
        });
        var topic = Samples.Repository();
        await Assert.ThrowsAsync<InvalidOperationException>(() =>
            Database.WriteAsync(
                transaction =>
                {
                    Database.Signal(transaction, topic + "-undone");
                    throw new InvalidOperationException();
                },
                CancellationToken.None
            )
        );
        await Database.WriteAsync(
            transaction =>
            {
                Database.Signal(transaction, topic);
                Database.Signal(transaction, topic);
                DoesNotHear(topic);
            },
            CancellationToken.None
        );
        lock (heard)
        {
            Assert.Single(heard, h => h == topic);
            Assert.DoesNotContain(topic + "-undone", heard);
        }

        void DoesNotHear(string unwanted)
        {
            lock (heard)
            {
                Assert.DoesNotContain(unwanted, heard);
            }
        }
    }

    private static void Insert(DbTransaction transaction, string name) =>
        transaction.Run("INSERT INTO repositories (name, created) VALUES (@name, 0)", ("name", name));

    private List<string> Names(string prefix) => Database.Read(c => Names(c, prefix));

    private static List<string> Names(DbConnection connection, string prefix) =>
        connection.Query(
            "SELECT name FROM repositories WHERE name LIKE @pattern ORDER BY name",
            row => row.GetString(0),
            ("pattern", prefix + "%")
        );
}
