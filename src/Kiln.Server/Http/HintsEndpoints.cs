using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Builds.Publish;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>What an image is good for: bld-16 of the build extension.</summary>
internal sealed class HintsEndpoints(PushedHints hints)
{
    private const string Pattern = "{name}/_build/v1/hints";

    // Seconds after which it is worth asking again for layers that are being read.
    private const string ComeBack = "5";

    public void Map(V2Router router) =>
        router.Map("GET", Pattern, Need.Pull, Get).Map("POST", Pattern, Need.Push(AuditActions.HintsAttach), Post);

    private async Task Get(V2Context context) =>
        await context.WriteJsonAsync(
            (await hints.KnownAsync(context.Repository, Named(context), context.Cancel)).ToBytes(),
            context.Accepts(BuildMediaTypes.Hints)
        );

    private async Task Post(V2Context context)
    {
        var wait = context.PreferredWait() ?? TimeSpan.FromSeconds(V2Requests.MaxWaitSeconds);
        var answer = await hints.AttachAsync(
            context.Repository,
            Named(context),
            context.Principal.Name,
            wait,
            context.Cancel
        );
        if (answer is not { } made)
        {
            context.Response.StatusCode = StatusCodes.Status202Accepted;
            context.Response.Headers.RetryAfter = ComeBack;
            context.Response.ContentLength = 0;
            return;
        }

        // Who may push may not always pull: what it says is had by GET.
        context.WriteCreated("manifests", made.Digest);
    }

    private static Digest Named(V2Context context) =>
        V2Context.ParseDigest(
            context.Query("digest")
                ?? throw new OciException(
                    BuildErrors.RequestInvalid,
                    "name the image manifest that is meant: ?digest=sha256:…"
                )
        );
}
