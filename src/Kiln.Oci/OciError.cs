using System.Text.Json;
using System.Text.Json.Serialization;

namespace Kiln.Oci;

/// <summary>A row of the error table: the code on the wire and the HTTP status that goes with it.</summary>
public sealed record ErrorCode(string Code, int Status)
{
    public override string ToString() => Code;
}

/// <summary>The codes of distribution-spec, "Error Codes". The extension's own are in Kiln.BuildSpec.</summary>
public static class ErrorCodes
{
    public static readonly ErrorCode BlobUnknown = new("BLOB_UNKNOWN", 404);
    public static readonly ErrorCode BlobUploadInvalid = new("BLOB_UPLOAD_INVALID", 400);
    public static readonly ErrorCode BlobUploadUnknown = new("BLOB_UPLOAD_UNKNOWN", 404);
    public static readonly ErrorCode BlobUploadRange = new("BLOB_UPLOAD_INVALID", 416);
    public static readonly ErrorCode BlobUploadBusy = new("BLOB_UPLOAD_INVALID", 409);
    public static readonly ErrorCode BodyTooSlow = new("SIZE_INVALID", 408);
    public static readonly ErrorCode BlobTooLarge = new("SIZE_INVALID", 413);
    public static readonly ErrorCode RangeInvalid = new("SIZE_INVALID", 416);
    public static readonly ErrorCode DigestInvalid = new("DIGEST_INVALID", 400);
    public static readonly ErrorCode ManifestBlobUnknown = new("MANIFEST_BLOB_UNKNOWN", 404);
    public static readonly ErrorCode ManifestInvalid = new("MANIFEST_INVALID", 400);
    public static readonly ErrorCode ManifestTooLarge = new("MANIFEST_INVALID", 413);
    public static readonly ErrorCode ManifestUnknown = new("MANIFEST_UNKNOWN", 404);
    public static readonly ErrorCode NameInvalid = new("NAME_INVALID", 400);
    public static readonly ErrorCode NameUnknown = new("NAME_UNKNOWN", 404);
    public static readonly ErrorCode SizeInvalid = new("SIZE_INVALID", 400);
    public static readonly ErrorCode TagInvalid = new("TAG_INVALID", 400);
    public static readonly ErrorCode PaginationInvalid = new("PAGINATION_NUMBER_INVALID", 400);
    public static readonly ErrorCode Unauthorized = new("UNAUTHORIZED", 401);
    public static readonly ErrorCode Denied = new("DENIED", 403);

    /// <summary>Whoever asks, it would be refused: no login helps, as it might with a 403.</summary>
    public static readonly ErrorCode TagImmutable = new("DENIED", 409);
    public static readonly ErrorCode QuotaExceeded = new("DENIED", 403);
    public static readonly ErrorCode ParameterInvalid = new("UNSUPPORTED", 400);
    public static readonly ErrorCode PreconditionFailed = new("PRECONDITION_FAILED", 412);
    public static readonly ErrorCode Unsupported = new("UNSUPPORTED", 404);
    public static readonly ErrorCode MethodUnsupported = new("UNSUPPORTED", 405);
    public static readonly ErrorCode AddressTooLong = new("UNSUPPORTED", 414);
    public static readonly ErrorCode HeadersTooLarge = new("UNSUPPORTED", 431);
    public static readonly ErrorCode TooManyRequests = new("TOOMANYREQUESTS", 429);
    public static readonly ErrorCode HostRefused = new("DENIED", 421);
    public static readonly ErrorCode Internal = new("UNKNOWN", 500);
    public static readonly ErrorCode StorageFull = new("UNAVAILABLE", 507);
    public static readonly ErrorCode UpstreamBroken = new("UNAVAILABLE", 502);
    public static readonly ErrorCode Unavailable = new("UNAVAILABLE", 503);
    public static readonly ErrorCode UpstreamSilent = new("UNAVAILABLE", 504);
    public static readonly ErrorCode Loop = new("UNSUPPORTED", 508);
}

/// <summary>
/// A broken rule as a value: what was refused and why, and what to do about it.
/// <see cref="Detail"/> is JSON for machines.
/// </summary>
public sealed record OciError(ErrorCode Code, string Message, JsonElement? Detail = null)
{
    /// <summary>When to try again, where that is known.</summary>
    public TimeSpan? RetryAfter { get; init; }

    public override string ToString() => $"{Code.Code}: {Message}";
}

/// <summary>Carries an <see cref="OciError"/> where a return value cannot. Rare: not for hot paths.</summary>
public sealed class OciException(OciError error) : Exception(error.Message)
{
    public OciException(ErrorCode code, string message)
        : this(new OciError(code, message)) { }

    public OciError Error { get; } = error;
}

/// <summary>The body of every error under <c>/v2/</c> (distribution-spec, "Error Codes").</summary>
public sealed record ErrorEnvelope([property: JsonPropertyName("errors")] IReadOnlyList<ErrorEntry> Errors);

/// <summary>One entry of an <see cref="ErrorEnvelope"/>.</summary>
public sealed record ErrorEntry(
    [property: JsonPropertyName("code")] string Code,
    [property: JsonPropertyName("message")] string? Message,
    [property: JsonPropertyName("detail")] JsonElement? Detail
);
