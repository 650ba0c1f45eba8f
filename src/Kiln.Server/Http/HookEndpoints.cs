using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Builds.Hooks;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Who is told what becomes of a repository's jobs: bld-15 of the build extension.</summary>
internal sealed class HookEndpoints(HookRegister hooks, ServerOptions options)
{
    private const string All = "{name}/_build/v1/hooks";
    private const string One = All + "/{}";
    private const int MaxBytes = 64 << 10;

    public void Map(V2Router router) =>
        router
            .Map("GET", All, Need.Manage(AuditActions.Read, recorded: false), List)
            .Map("POST", All, Need.Manage(AuditActions.HookAdd), Add)
            .Map("GET", One, Need.Manage(AuditActions.Read, recorded: false), Get)
            .Map("DELETE", One, Need.Manage(AuditActions.HookRemove), Remove)
            .Map("POST", One + "/ping", Need.Manage(AuditActions.HookPing), Ping);

    private Task List(V2Context context) =>
        context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(
                new HookList { Hooks = hooks.Of(context.Repository) },
                BuildJson.Default.HookList
            ),
            context.Accepts(BuildMediaTypes.Hooks)
        );

    private async Task Add(V2Context context)
    {
        var tooLarge = new OciError(BuildErrors.RequestTooLarge, $"a hook may have {MaxBytes} bytes at most");
        var body = await context.ReadBodyAsync(MaxBytes, tooLarge);
        Hook? wanted;
        try
        {
            wanted = JsonSerializer.Deserialize(body, BuildJson.Default.Hook);
        }
        catch (JsonException e)
        {
            throw HookRules.Invalid($"it is not the JSON of one: {e.Message}");
        }

        if (wanted is null)
        {
            throw HookRules.Invalid("it is null");
        }

        var origin = CalledAddress.Of(context.Http, options);
        var hook = await hooks.AddAsync(context.Repository, wanted, context.Principal.Name, origin, context.Cancel);
        context.Http.Features.Set(new AuditSubject(hook.Id!));
        context.Response.Headers.Location = $"/v2/{context.Repository}/_build/v1/hooks/{hook.Id}";
        context.Response.Headers.CacheControl = "no-store";
        await WriteAsync(context, hook, StatusCodes.Status201Created);
    }

    private Task Get(V2Context context) =>
        WriteAsync(
            context,
            hooks.Of(context.Repository).FirstOrDefault(h => h.Id == context[0]) ?? throw Unknown(context),
            StatusCodes.Status200OK
        );

    private async Task Remove(V2Context context)
    {
        if (!await hooks.RemoveAsync(context.Repository, context[0], context.Cancel))
        {
            throw Unknown(context);
        }

        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    private async Task Ping(V2Context context)
    {
        if (!await hooks.PingAsync(context.Repository, context[0], context.Cancel))
        {
            throw Unknown(context);
        }

        context.Response.StatusCode = StatusCodes.Status202Accepted;
        context.Response.ContentLength = 0;
    }

    private static Task WriteAsync(V2Context context, Hook hook, int status) =>
        context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(hook, BuildJson.Default.Hook),
            context.Accepts(BuildMediaTypes.Hook),
            status
        );

    private static OciException Unknown(V2Context context) =>
        new(BuildErrors.HookUnknown, $"repository {context.Repository} has no hook '{V2Context.Shorten(context[0])}'");
}
