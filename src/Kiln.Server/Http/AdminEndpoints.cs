using System.Text.Json;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Tokens;
using Kiln.Server.Audit;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>
/// <c>/admin/v1/tokens</c>: issuing, listing and revoking machine tokens; for the server's own user over loopback and
/// for whoever has the <c>admin</c> right.
/// </summary>
internal sealed class AdminEndpoints(AccessSetting setting, MachineTokens tokens, TimeProvider time)
{
    public const string Root = "/admin/v1/";

    private const int MaxBodyBytes = 64 << 10;
    private const long MaxSeconds = 100L * 366 * 86_400;

    public void Map(V2Router router) =>
        router
            .Map("GET", "tokens", Need.Admin(AuditActions.Read, recorded: false), List)
            .Map("POST", "tokens", Need.Admin(AuditActions.TokenIssue), Issue)
            .Map("DELETE", "tokens/{}", Need.Admin(AuditActions.TokenRevoke), Revoke);

    private async Task Issue(V2Context context)
    {
        if (setting.Mode != AccessMode.Policy)
        {
            throw Invalid(
                "this registry has no access control, so a token would open nothing; give kiln serve a --policy"
            );
        }

        var request = await ReadAsync(context);
        context.Http.Features.Set(new AuditSubject(request.Name));
        var (token, secret) = await tokens.IssueAsync(
            request.Name,
            new TokenGrant(request.Repositories, request.Actions),
            request.ExpiresInSeconds is { } s ? time.GetUtcNow().AddSeconds(Math.Clamp(s, 0, MaxSeconds)) : null,
            context.Principal.Name,
            context.Cancel
        );
        context.Response.Headers.CacheControl = "no-store";
        var view = View(token) with { Token = secret };
        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(view, AdminJson.Default.TokenView),
            status: StatusCodes.Status201Created
        );
    }

    private Task List(V2Context context)
    {
        var list = new TokenList([.. tokens.List().Select(View)]);
        return context.WriteJsonAsync(JsonSerializer.SerializeToUtf8Bytes(list, AdminJson.Default.TokenList));
    }

    private async Task Revoke(V2Context context)
    {
        if (await tokens.RevokeAsync(context[0], context.Cancel) is null)
        {
            throw new OciException(
                ErrorCodes.Unsupported,
                $"there is no token '{V2Context.Shorten(context[0])}'; list them with: kiln token list"
            );
        }

        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    private static async Task<TokenRequest> ReadAsync(V2Context context)
    {
        // Nothing that a form in a web page could send.
        if (context.BodyType() != MediaTypes.Json)
        {
            throw Invalid("the body must be JSON (Content-Type: application/json)");
        }

        var body = await context.ReadBodyAsync(
            MaxBodyBytes,
            new OciError(new ErrorCode("SIZE_INVALID", 413), $"the body may have {MaxBodyBytes} bytes at most")
        );
        try
        {
            var request =
                JsonSerializer.Deserialize(body, AdminJson.Default.TokenRequest) ?? throw Invalid("the body is null");
            return request.Repositories.Contains(null!) || request.Actions.Contains(null!)
                ? throw Invalid("repositories and actions are lists of texts; one of them is null")
                : request;
        }
        catch (JsonException e)
        {
            throw Invalid($"the body is no request for a token: {e.Message}");
        }
    }

    private static OciException Invalid(string message) => new(new ErrorCode("UNSUPPORTED", 400), message);

    private static TokenView View(MachineToken token) =>
        new()
        {
            Id = token.Id,
            Name = token.Name,
            Repositories = token.Grant.Repositories,
            Actions = token.Grant.Actions,
            Created = token.Created,
            CreatedBy = token.CreatedBy,
            Expires = token.Expires,
            LastUsed = token.LastUsed,
        };
}
