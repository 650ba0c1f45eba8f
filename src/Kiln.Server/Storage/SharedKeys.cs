using Kiln.Server.Metadata;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Storage;

/// <summary>
/// Sees to it that servers of one database have the same keys: what one encrypts or signs, the other has to read. Keys may be
/// others than before while nobody else is at work.
/// </summary>
internal sealed class SharedKeys(Database database, ServerKeys keys, ServerPresence presence) : IHostedService
{
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var mine = keys.Fingerprint();
        var same =
            !database.IsShared
            || await database.WriteAsync(
                transaction =>
                {
                    var theirs = transaction.Scalar<string>("SELECT fingerprint FROM shared_keys WHERE id = 1");
                    if (theirs != mine && theirs is not null && presence.HasOthers(transaction.Connection!))
                    {
                        return false;
                    }

                    transaction.Run(
                        """
                        INSERT INTO shared_keys (id, fingerprint) VALUES (1, @mine)
                        ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint
                        """,
                        ("mine", mine)
                    );
                    return true;
                },
                cancellationToken
            );
        if (!same)
        {
            throw new ServerStartException(
                "another server is at work on this database with other keys; give all of them the same --keys-file"
            );
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
