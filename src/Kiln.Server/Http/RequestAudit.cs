using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>What a request is about, where its path does not say.</summary>
internal sealed record AuditSubject(string Reference);

/// <summary>Writes down what requests changed, and what they were refused.</summary>
internal sealed class RequestAudit(AuditLog log)
{
    private const string AnswerDigest = "Docker-Content-Digest";

    /// <summary>After a request that did what it was to do, as far as that is recorded.</summary>
    public void Done(
        HttpContext http,
        Need need,
        Caller caller,
        RepositoryName? repository,
        IReadOnlyList<string> parameters
    )
    {
        // A push in one request finishes what others do in several; a mount makes a blob visible as well.
        var finishes =
            need.Action == AuditActions.UploadStart && http.Response.StatusCode == StatusCodes.Status201Created;
        if (!need.Recorded && !finishes)
        {
            return;
        }

        var entry = Entry(http, need, caller, repository, parameters) with { Status = http.Response.StatusCode };
        log.Write(finishes ? entry with { Action = AuditActions.UploadFinish, Reference = null } : entry);
    }

    /// <summary>After a request that was refused, or failed at something that is recorded.</summary>
    public void Failed(
        HttpContext http,
        Need need,
        Caller? caller,
        RepositoryName? repository,
        IReadOnlyList<string> parameters,
        Exception exception
    )
    {
        var error = (exception as OciException)?.Error;
        var refused = error?.Code.Status is 401 or 403 or 429;
        if (!refused && !need.Recorded)
        {
            return;
        }

        // The usual way to a token: nothing was tried yet. Whoever has no login must not be able to fill the log either,
        // until what matters in it is set aside and goes.
        if (error?.Code == ErrorCodes.Unauthorized && http.Request.Headers.Authorization.Count == 0)
        {
            return;
        }

        log.Write(
            Entry(http, need, caller, repository, parameters) with
            {
                Outcome = refused ? AuditOutcomes.Refused : AuditOutcomes.Failed,
                Status = error?.Code.Status ?? StatusCodes.Status500InternalServerError,
                Error = error?.Code.Code,
            }
        );
    }

    /// <summary>Writes down something that has no route under <c>/v2/</c>.</summary>
    public void Write(HttpContext http, string principal, string action, string outcome, string? reference = null) =>
        log.Write(
            new AuditEntry
            {
                Principal = principal,
                Address = http.Connection.RemoteIpAddress?.ToString(),
                RequestId = http.TraceIdentifier,
                Action = action,
                Reference = reference,
                Outcome = outcome,
            }
        );

    private static AuditEntry Entry(
        HttpContext http,
        Need need,
        Caller? caller,
        RepositoryName? repository,
        IReadOnlyList<string> parameters
    )
    {
        var reference = parameters.Count > 0 ? V2Context.Shorten(parameters[0]) : null;
        var byDigest = reference?.Contains(':', StringComparison.Ordinal) == true;
        var tags = http.Request.Query["tag"];
        var job = need.Action == AuditActions.JobRequest ? http.Response.Headers.Location.ToString() : "";
        return new AuditEntry
        {
            Principal = ((caller ?? http.Features.Get<Caller>())?.Principal ?? Principal.Anonymous).Name,
            Address = http.Connection.RemoteIpAddress?.ToString(),
            RequestId = http.TraceIdentifier,
            Action = need.Action == AuditActions.ManifestDelete && !byDigest ? AuditActions.TagDelete : need.Action,
            Repository = repository?.Value,
            Reference =
                job.Length > 0 ? job[(job.LastIndexOf('/') + 1)..]
                : http.Features.Get<AuditSubject>() is { } subject ? V2Context.Shorten(subject.Reference)
                : byDigest ? (tags.Count > 0 ? V2Context.Shorten(string.Join(',', tags.ToArray())) : null)
                : reference,
            Digest =
                http.Response.Headers[AnswerDigest].ToString() is { Length: > 0 } digest ? digest
                : byDigest ? reference
                : null,
            Outcome = AuditOutcomes.Done,
        };
    }
}
