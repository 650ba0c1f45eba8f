using Kiln.Client.Administration;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>Uploads that no request has written to for long.</summary>
internal sealed class UploadSweep(Uploads uploads, ServerOptions options)
{
    public async Task RunAsync(CollectionRun run, CancellationToken cancel)
    {
        var old = uploads.Expired();
        if (!run.DryRun)
        {
            await uploads.ExpireAsync(cancel);
        }

        foreach (var (id, repository) in old)
        {
            await run.TellAsync(
                new CollectionItem
                {
                    Kind = CollectionKinds.Upload,
                    Repository = repository,
                    Reference = id,
                    Action = run.Deletes,
                    Reason = $"no request wrote to it for {Durations.Say(options.UploadExpiry)}",
                }
            );
        }
    }
}
