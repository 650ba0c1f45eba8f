using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Registry;

namespace Kiln.Server.Http;

/// <summary>
/// Pulls of a tag that is being built: held for a while, then told to come again, so that clients of today get it in the
/// end; bld-9 of the build extension. Below the 60 seconds after which proxies give up, and 429, the one status that all
/// families of clients try again.
/// </summary>
internal sealed class WaitingPulls(
    AwaitedTags awaited,
    Manifests manifests,
    Wakeups wakeups,
    BuildOptions options,
    ServerOptions server,
    TimeProvider time
)
{
    private const string RetrySeconds = "10";
    private int _held;

    /// <summary>How many are held now.</summary>
    public int Held => Volatile.Read(ref _held);

    /// <summary>The manifest, once the tag is there; or what to answer in its place.</summary>
    /// <returns>Two nulls where nobody builds it.</returns>
    public async Task<(StoredManifest? Manifest, OciError? Error)> AwaitAsync(V2Context context, Tag tag)
    {
        if (options.PullBuild == PullBuilds.Off)
        {
            return default;
        }

        var builder = context.Caller.May(context.Repository, Rights.Build | Rights.Push)
            ? context.Principal.Name
            : null;
        if (await awaited.FindAsync(context.Repository, tag, builder, context.Cancel) is not { } job)
        {
            return default;
        }

        var hold = TimeSpan.FromSeconds(options.PullHoldSeconds);
        if (Interlocked.Increment(ref _held) > options.MaxHeldPulls)
        {
            hold = TimeSpan.Zero;
        }

        try
        {
            return await HoldAsync(context, tag, job, new Deadline(time, hold));
        }
        finally
        {
            Interlocked.Decrement(ref _held);
        }
    }

    private async Task<(StoredManifest? Manifest, OciError? Error)> HoldAsync(
        V2Context context,
        Tag tag,
        JobRow job,
        Deadline until
    )
    {
        while (true)
        {
            var next = wakeups.Next(Wakeups.Job(job.Id));
            var now = awaited.Look(job.Id) ?? job;
            var manifest = context.IsHead
                ? manifests.Head(context.Repository, tag)
                : manifests.Get(context.Repository, tag);
            if (manifest is not null || now.State == BuildStates.Succeeded)
            {
                // Succeeded and not there: somebody has deleted it since.
                return (manifest, null);
            }

            if (now.Finished is not null)
            {
                return (null, Failed(context, tag, now));
            }

            var left = until.Left;
            if (left <= TimeSpan.Zero || wakeups.IsStopping)
            {
                return (null, Later(context, tag, now));
            }

            await wakeups.WaitAsync(next, left, context.Cancel);
        }
    }

    private OciError Later(V2Context context, Tag tag, JobRow job)
    {
        context.Response.Headers.RetryAfter = RetrySeconds;
        Warn(context, $"build {job.Id} of {context.Repository}:{tag} is {job.State}", job, "?follow=1");
        return new OciError(
            ErrorCodes.TooManyRequests,
            $"{context.Repository}:{tag} is being built (build {job.Id} is {job.State}); come again in {RetrySeconds} s"
        );
    }

    private OciError Failed(V2Context context, Tag tag, JobRow job)
    {
        Warn(context, $"build {job.Id} of {context.Repository}:{tag} {job.State}", job, "");
        var reason = job.Reason is null ? "" : $" ({job.Reason})";
        return new OciError(
            ErrorCodes.ManifestUnknown,
            $"{context.Repository}:{tag} is not there: build {job.Id} {job.State}{reason}",
            JsonSerializer.SerializeToElement(Ids.JobPath(context.Repository, job.Id), BuildJson.Default.String)
        );
    }

    // For people; names, tags and ids are ASCII without quotes (distribution-spec, "Warnings").
    private void Warn(V2Context context, string text, JobRow job, string query)
    {
        var path = Ids.JobPath(context.Repository, job.Id);
        var origin = CalledAddress.Of(context.Http, server);
        context.Response.Headers.Warning = $"299 - \"{text}; its log: {origin}{path}/logs{query}\"";
    }
}
