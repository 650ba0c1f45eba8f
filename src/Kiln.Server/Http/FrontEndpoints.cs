using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Front;
using Kiln.Server.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Http;

/// <summary>
/// Manifests, blobs and referrers of the registry behind: passed on, and what builds need of them done beside. Whatever has
/// no route here or in the build extension is passed on as it is.
/// </summary>
internal sealed partial class FrontEndpoints(
    PassThrough wire,
    PushedRecipes recipes,
    ReferrersBehind referrers,
    ManifestBodies bodies,
    WaitingPulls waiting,
    AwaitedTags awaited,
    CallerRights rights,
    FrontBuildPulls builds,
    BuildOptions build,
    ServerOptions options,
    ILogger<FrontEndpoints> log
)
{
    public void Map(V2Router router) =>
        router
            .Map("GET", "{name}/manifests/{}", Need.Nothing, GetManifest)
            .Map("PUT", "{name}/manifests/{}", Need.Nothing, PutManifest)
            .Map("DELETE", "{name}/manifests/{}", Need.Nothing, DeleteManifest)
            .Map("GET", "{name}/blobs/{}", Need.Nothing, GetBlob)
            .Map("GET", "{name}/referrers/{}", Need.Nothing, ListReferrers)
            .Otherwise(wire.AnswerAsync);

    private async Task GetManifest(V2Context context)
    {
        if (await builds.TryManifestAsync(context))
        {
            return;
        }

        using (var answer = await wire.SendAsync(context.Http))
        {
            if (answer.Status != StatusCodes.Status404NotFound || await AwaitedAsync(context) is not { } tag)
            {
                await answer.WriteAsync();
                return;
            }

            context.Http.Items[nameof(Tag)] = tag;
        }

        var (_, instead) = await waiting.AwaitAsync(context, (Tag)context.Http.Items[nameof(Tag)]!);
        await (instead is null ? wire.AnswerAsync(context.Http) : OciErrorWriter.WriteAsync(context.Http, instead));
    }

    private async Task GetBlob(V2Context context)
    {
        if (!await builds.TryBlobAsync(context))
        {
            await wire.AnswerAsync(context.Http);
        }
    }

    // The tag that a job is to move, where the caller may know of it.
    private async Task<Tag?> AwaitedAsync(V2Context context) =>
        build.PullBuild != PullBuilds.Off
        && Tag.TryParse(context[0], out var tag)
        && await awaited.FindAsync(context.Repository, tag, builder: null, context.Cancel) is not null
        && await rights.MayPullAsync(context.Http, context.Repository)
            ? tag
            : null;

    private async Task PutManifest(V2Context context)
    {
        using var body = await bodies.ReadAsync(context);
        using var answer = await wire.SendAsync(context.Http, body.Content);
        var type = context.BodyType();
        if (
            answer.Status != StatusCodes.Status201Created
            || ManifestReader.Read(body.Content, type is "" or MediaTypes.Json ? null : type, out _) is not { } manifest
        )
        {
            await answer.WriteAsync();
            return;
        }

        var (digest, tags) = Names(context, body.Content);
        var beside = new List<(string Name, string Value)>();
        if (manifest.Subject is { } subject && !answer.Has("OCI-Subject"))
        {
            await BesideAsync(
                context,
                beside,
                $"not listed among the referrers of {subject.Digest}",
                async () => [await ListAsync(context, subject.Digest, digest, manifest, body.Length)]
            );
        }

        var push = new ManifestPush
        {
            Repository = context.Repository,
            Content = body.Content.ToArray(),
            ContentType = manifest.MediaType,
            Digest = digest,
            Tags = tags,
            Principal = context.Principal.Name,
            Origin = CalledAddress.Of(context.Http, options),
        };
        await BesideAsync(
            context,
            beside,
            "no build was started",
            async () =>
                await recipes.StartAsync(context.Http, push, digest, manifest) is { } notice
                    ? [.. new[] { ("Link", notice.Link), ("Warning", notice.Warning) }.Where(h => h.Item2 is not null)!]
                    : []
        );
        await answer.WriteAsync(headers => beside.ForEach(h => headers.Append(h.Name, h.Value)));
    }

    // The manifest is taken: whatever fails from here on is no failure of the push.
    private async Task BesideAsync(
        V2Context context,
        List<(string Name, string Value)> beside,
        string lack,
        Func<Task<IReadOnlyList<(string Name, string Value)>>> act
    )
    {
        try
        {
            beside.AddRange(await act());
        }
        catch (Exception e) when (!context.Cancel.IsCancellationRequested)
        {
            var why = (e as OciException)?.Message;
            if (why is null)
            {
                LogFault(log, e);
            }

            why ??= "this is a fault of this server, whose log has the details";
            beside.Add(("Warning", PushIntake.Warning($"the manifest is pushed, but {lack}: {why}")));
        }
    }

    // In a registry that lists referrers itself the client does not: so this one has to (distribution-spec, "Pushing
    // Manifests with Subject").
    private async Task<(string, string)> ListAsync(
        V2Context context,
        Digest subject,
        Digest digest,
        ManifestInfo manifest,
        long size
    )
    {
        referrers.IsMissing = true;
        var entry = new Descriptor
        {
            MediaType = manifest.MediaType,
            Digest = digest,
            Size = size,
            ArtifactType = manifest.EffectiveArtifactType,
            Annotations = manifest.Annotations,
        };
        return await referrers.AddAsync(context.Http, context.Repository, subject, entry) is { } fault
            ? (
                "Warning",
                PushIntake.Warning($"the manifest is pushed, but not listed among the referrers of {subject}: {fault}")
            )
            : ("OCI-Subject", subject.ToString());
    }

    private async Task DeleteManifest(V2Context context)
    {
        var digest = Digest.TryParse(context[0], out var named) ? named : null;
        var subject =
            digest is not null && referrers.IsMissing
                ? await referrers.SubjectOfAsync(context.Http, context.Repository, digest)
                : null;
        using var answer = await wire.SendAsync(context.Http);
        if (answer.Status == StatusCodes.Status202Accepted && subject is not null)
        {
            await referrers.RemoveAsync(context.Http, context.Repository, subject, digest!);
        }

        await answer.WriteAsync();
    }

    private async Task ListReferrers(V2Context context)
    {
        using (var answer = await wire.SendAsync(context.Http))
        {
            // "If … the registry supports the referrers API, the registry MUST NOT return a 404 Not Found".
            if (answer.Status != StatusCodes.Status404NotFound)
            {
                await answer.WriteAsync();
                return;
            }
        }

        referrers.IsMissing = true;
        var subject = context.DigestAt(0);
        var artifactType = context.Query("artifactType") is { Length: > 0 } type ? type : null;
        var index = await referrers.ListAsync(context.Http, context.Repository, subject, artifactType);
        if (artifactType is not null)
        {
            context.Response.Headers["OCI-Filters-Applied"] = "artifactType";
        }

        await context.WriteJsonAsync(
            System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(index, OciJson.Default.ImageIndex),
            MediaTypes.OciIndex
        );
    }

    // "PUT /v2/<name>/manifests/<digest>?tag=1&tag=2" (end-7b)
    private static (Digest Digest, IReadOnlyList<Tag> Tags) Names(V2Context context, ReadOnlyMemory<byte> content)
    {
        var named = context.Request.Query["tag"].Append(context[0]);
        return (
            Digest.TryParse(context[0], out var digest) ? digest : Digest.Of(content.Span),
            [.. named.Select(text => Tag.TryParse(text, out var tag) ? tag : null).OfType<Tag>().Distinct()]
        );
    }

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "what follows a push that the registry behind has taken met a fault"
    )]
    private static partial void LogFault(ILogger log, Exception exception);
}
