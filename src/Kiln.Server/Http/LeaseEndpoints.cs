using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Audit;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Queue;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>The lease protocol for build nodes elsewhere: bld-10 to bld-14 of the build extension.</summary>
internal sealed class LeaseEndpoints(
    LeaseDesk desk,
    LeaseResults results,
    Builders builders,
    NodeGrants grants,
    JobReader jobs,
    RequestAudit audit,
    AccessSetting setting,
    ServerOptions options
)
{
    private const string Claims = "_build/v1/leases";
    private const string OneLease = "{name}/_build/v1/jobs/{}/leases/{}";
    private const string RetrySeconds = "2";
    private const int MaxPieceBytes = 4 << 20;

    public void Map(V2Router router) =>
        router
            .Map("POST", Claims, Need.Claim(AuditActions.LeaseClaim), Claim)
            .Map("POST", "{name}/" + Claims, Need.Claim(AuditActions.LeaseClaim), Claim)
            .Map("PATCH", OneLease, Need.OfLease(AuditActions.LeaseExtend, recorded: false), Beat)
            .Map("DELETE", OneLease, Need.OfLease(AuditActions.LeaseReturn, recorded: true), GiveBack)
            .Map("PATCH", OneLease + "/log", Need.OfLease(AuditActions.LeaseLog, recorded: false), Append)
            .Map("GET", OneLease + "/log", Need.OfLease(AuditActions.Read, recorded: false), Received)
            .Map("PUT", OneLease + "/result", Need.OfLease(AuditActions.LeaseResult, recorded: true), Complete);

    private async Task Claim(V2Context context)
    {
        var claim = await LeaseBodies.ClaimAsync(context);
        var caller = context.Caller;
        var claimant = new Claimant(caller.Principal.Name)
        {
            Repository = context.Repository?.Value,
            MayBuildFor =
                setting.Mode == AccessMode.Policy ? (where, who) => grants.MayBuildFor(caller, where, who) : null,
            MayBuildOwn = where => caller.Policy.RightsOf(caller.Principal, where).HasFlag(Rights.Build | Rights.Push),
            Repeatable = LeaseBodies.Repeatable(context, claim),
        };
        await builders.NoteAsync(claimant.Name, claim, personal: !grants.IsGranted(caller), context.Cancel);
        Lease? lease;
        try
        {
            lease = await desk.ClaimAsync(claim, claimant, context.PreferredWait() ?? TimeSpan.Zero, context.Cancel);
        }
        catch (LeaseLostException e)
        {
            throw new OciException(BuildErrors.LeaseLost, $"the lease of this Idempotency-Key is over: {e.Message}");
        }

        if (lease is null)
        {
            WriteNothing(context, claim);
            return;
        }

        audit.Write(context.Http, claimant.Name, AuditActions.LeaseClaim, AuditOutcomes.Done, lease.Id);
        context.Response.Headers.Location = $"{lease.Job}/leases/{lease.Id}";
        context.Response.Headers.CacheControl = "no-store";
        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(Addressed(context, lease), BuildJson.Default.Lease),
            context.Accepts(BuildMediaTypes.Lease),
            StatusCodes.Status201Created
        );
    }

    private static void WriteNothing(V2Context context, LeaseClaim claim)
    {
        if (claim.Job is not null)
        {
            throw new OciException(
                BuildErrors.StateInvalid,
                $"job {V2Context.Shorten(claim.Job)} has nothing that waits and that this node could build"
            );
        }

        context.Response.Headers.RetryAfter = RetrySeconds;
        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    // The names under which this node reaches the registry: nobody else may get to see the credential.
    private Lease Addressed(V2Context context, Lease lease)
    {
        var host = CalledAddress.Authority(context.Http);
        IReadOnlyList<string> hosts =
            options.Access.PublicUrl is { } own && new Uri(own).Authority is var name && name != host
                ? [host, name]
                : [host];
        return lease with
        {
            Push = lease.Push! with { Registry = host },
            // What is loopback here is another machine's there.
            Bases = lease.Bases is null ? null : lease.Bases with { Own = hosts },
            Registry = lease.Registry is null ? null : lease.Registry with { Hosts = hosts },
        };
    }

    private async Task Beat(V2Context context)
    {
        var lease = Require(context);
        var beat = await LeaseBodies.BeatAsync(context);
        var reply = await UnlessLostAsync(context, lease, () => desk.HeartbeatAsync(Key(lease), beat, context.Cancel));
        context.Response.Headers.CacheControl = "no-store";
        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(
                reply with
                {
                    Auth = LeaseDesk.AuthOf(LeaseGate.SecretIn(context.Http)!, reply.Expires!.Value),
                },
                BuildJson.Default.LeaseHeartbeatReply
            )
        );
    }

    private async Task Append(V2Context context)
    {
        var lease = Require(context);
        var header = context.Request.Headers.ContentRange.ToString();
        var text = await context.ReadBodyAsync(
            MaxPieceBytes,
            new OciError(
                BuildErrors.RequestInvalid,
                $"a piece of log may have {MaxPieceBytes} bytes at most; send the rest in the next"
            )
        );
        if (ContentRange.Parse(header) is not { } range || range.Length != text.Length)
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                $"the Content-Range '{V2Context.Shorten(header)}' is not START-END of the {text.Length} bytes that came"
            );
        }

        try
        {
            var (received, full) = await UnlessLostAsync(
                context,
                lease,
                () => desk.AppendLogAsync(Key(lease), range.Start, text, context.Cancel)
            );
            SetRange(context, received);
            if (full)
            {
                throw new OciException(
                    BuildErrors.LogFull,
                    $"the log has the {options.Build.MaxLogBytes} bytes that it may have; go on without it"
                );
            }

            context.Response.StatusCode = StatusCodes.Status202Accepted;
            context.Response.ContentLength = 0;
        }
        catch (LogGapException e)
        {
            SetRange(context, e.Received);
            throw new OciException(BuildErrors.LogRangeInvalid, $"{e.Message}, and {range.Start} came; go on there");
        }
    }

    private async Task Received(V2Context context)
    {
        var lease = Require(context);
        SetRange(context, await UnlessLostAsync(context, lease, () => Task.FromResult(desk.Received(Key(lease)))));
        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    private async Task Complete(V2Context context)
    {
        var lease = Require(context);
        var result = await LeaseBodies.ResultAsync(context);
        // What was taken cannot be taken back because the node did not wait for the answer.
        var answer = await UnlessLostAsync(
            context,
            lease,
            () => results.CompleteAsync(Key(lease), result, CancellationToken.None)
        );
        if (answer.Fault is not null)
        {
            throw new OciException(BuildErrors.ResultInvalid, $"the product is refused: {answer.Fault}");
        }

        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(
                new LeaseResultReply { State = answer.State, Published = answer.Published },
                BuildJson.Default.LeaseResultReply
            )
        );
    }

    private async Task GiveBack(V2Context context)
    {
        var lease = Require(context);
        await UnlessLostAsync(
            context,
            lease,
            async () =>
            {
                await desk.GiveBackAsync(Key(lease), context.Cancel);
                return true;
            }
        );
        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    // The lease of the credential must be the one of the path: another's is as good as none.
    private static LeaseHolder Require(V2Context context) =>
        context.Caller.Lease is { } lease
        && (lease.Repository, lease.Job, lease.Id) == (context.Repository.Value, context[0], context[1])
            ? lease
            : throw new OciException(
                BuildErrors.LeaseUnknown,
                $"build '{V2Context.Shorten(context[0])}' has no lease '{V2Context.Shorten(context[1])}' with this credential"
            );

    private async Task<T> UnlessLostAsync<T>(V2Context context, LeaseHolder lease, Func<Task<T>> word)
    {
        try
        {
            return await word();
        }
        catch (LeaseLostException e)
        {
            var over = jobs.Get(context.Repository, lease.Job) is null or { Done: true };
            throw new OciException(over ? BuildErrors.LeaseGone : BuildErrors.LeaseLost, e.Message);
        }
    }

    private static LeaseId Key(LeaseHolder lease) => new(lease.Id, lease.Execution);

    // Absent where nothing came: 0-0 would be one byte.
    private static void SetRange(V2Context context, long received)
    {
        if (received > 0)
        {
            context.Response.Headers["Range"] = string.Create(CultureInfo.InvariantCulture, $"0-{received - 1}");
        }
    }
}
