using System.Text.Json.Serialization;

namespace Kiln.Server.Audit;

/// <summary>One line of the audit log: who did what, or tried to. Never a secret.</summary>
internal sealed record AuditEntry
{
    /// <summary>When; the log sets it.</summary>
    [JsonPropertyName("time")]
    public DateTimeOffset Time { get; init; }

    [JsonPropertyName("principal")]
    public required string Principal { get; init; }

    /// <summary>The client's address; null for what the server does by itself.</summary>
    [JsonPropertyName("address")]
    public string? Address { get; init; }

    /// <summary>As in the server's own log; the job's id for what a build did.</summary>
    [JsonPropertyName("requestId")]
    public string? RequestId { get; init; }

    /// <summary>One of <see cref="AuditActions"/>.</summary>
    [JsonPropertyName("action")]
    public required string Action { get; init; }

    [JsonPropertyName("repository")]
    public string? Repository { get; init; }

    /// <summary>A tag, a job, a token's name: whatever the action is about, beside the digest.</summary>
    [JsonPropertyName("reference")]
    public string? Reference { get; init; }

    [JsonPropertyName("digest")]
    public string? Digest { get; init; }

    /// <summary>One of <see cref="AuditOutcomes"/>.</summary>
    [JsonPropertyName("outcome")]
    public required string Outcome { get; init; }

    /// <summary>HTTP status of the answer.</summary>
    [JsonPropertyName("status")]
    public int? Status { get; init; }

    /// <summary>The error code of the answer.</summary>
    [JsonPropertyName("error")]
    public string? Error { get; init; }
}

/// <summary>How it went.</summary>
internal static class AuditOutcomes
{
    public const string Done = "done";

    /// <summary>The caller may not.</summary>
    public const string Refused = "refused";

    /// <summary>The caller may, but it did not come about.</summary>
    public const string Failed = "failed";
}

/// <summary>What is written down.</summary>
internal static class AuditActions
{
    public const string Read = "read";
    public const string Login = "login";
    public const string ManifestPush = "manifest.push";
    public const string ManifestDelete = "manifest.delete";
    public const string TagMove = "tag.move";
    public const string TagDelete = "tag.delete";
    public const string BlobDelete = "blob.delete";
    public const string UploadStart = "upload.start";
    public const string UploadAppend = "upload.append";
    public const string UploadFinish = "upload.finish";
    public const string UploadCancel = "upload.cancel";
    public const string JobRequest = "job.request";
    public const string JobCancel = "job.cancel";
    public const string LeaseClaim = "lease.claim";
    public const string LeaseExtend = "lease.extend";
    public const string LeaseReturn = "lease.return";
    public const string LeaseLog = "lease.log";
    public const string LeaseResult = "lease.result";
    public const string SecretStore = "secret.store";
    public const string HintsAttach = "hints.attach";
    public const string HookAdd = "hook.add";
    public const string HookRemove = "hook.remove";
    public const string HookPing = "hook.ping";
    public const string TokenIssue = "token.issue";
    public const string TokenRevoke = "token.revoke";
    public const string Collect = "gc.run";
    public const string DeliveryRetry = "delivery.retry";
    public const string PolicyReload = "policy.reload";
}

[JsonSerializable(typeof(AuditEntry))]
[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
internal sealed partial class AuditJson : JsonSerializerContext;
