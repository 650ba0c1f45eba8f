using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>The error codes of the <c>_build</c> extension (build-extension, "Errors").</summary>
public static class BuildErrors
{
    public static readonly ErrorCode Unknown = new("BUILD_UNKNOWN", 404);
    public static readonly ErrorCode RequestInvalid = new("BUILD_REQUEST_INVALID", 400);
    public static readonly ErrorCode RequestTooLarge = new("BUILD_REQUEST_INVALID", 413);
    public static readonly ErrorCode RecipeUnknown = new("BUILD_RECIPE_UNKNOWN", 404);
    public static readonly ErrorCode RecipeInvalid = new("BUILD_RECIPE_INVALID", 422);
    public static readonly ErrorCode RecipeUnsupported = new("BUILD_RECIPE_UNSUPPORTED", 422);
    public static readonly ErrorCode PlatformUnsupported = new("BUILD_PLATFORM_UNSUPPORTED", 422);
    public static readonly ErrorCode OutputUnsupported = new("BUILD_OUTPUT_UNSUPPORTED", 422);
    public static readonly ErrorCode ContextTooLarge = new("BUILD_CONTEXT_TOO_LARGE", 413);

    /// <summary>No build node here can build anything, or policy says no.</summary>
    public static readonly ErrorCode Disabled = new("BUILD_DISABLED", 403);
    public static readonly ErrorCode StateInvalid = new("BUILD_STATE_INVALID", 409);
    public static readonly ErrorCode LeaseUnknown = new("BUILD_LEASE_UNKNOWN", 404);
    public static readonly ErrorCode LeaseLost = new("BUILD_LEASE_LOST", 409);

    /// <summary>As <see cref="LeaseLost"/>, and its job is over.</summary>
    public static readonly ErrorCode LeaseGone = new("BUILD_LEASE_LOST", 410);
    public static readonly ErrorCode IdempotencyConflict = new("BUILD_IDEMPOTENCY_CONFLICT", 422);
    public static readonly ErrorCode IdempotencyInFlight = new("BUILD_IDEMPOTENCY_CONFLICT", 409);
    public static readonly ErrorCode ResultInvalid = new("BUILD_RESULT_INVALID", 400);
    public static readonly ErrorCode LogRangeInvalid = new("BUILD_LOG_RANGE_INVALID", 416);

    /// <summary>The log has as many bytes as it may; the build goes on.</summary>
    public static readonly ErrorCode LogFull = new("BUILD_LOG_RANGE_INVALID", 413);

    /// <summary>Nothing was measured of the image, or nothing can be.</summary>
    public static readonly ErrorCode HintsUnknown = new("BUILD_HINTS_UNKNOWN", 404);
    public static readonly ErrorCode HookInvalid = new("BUILD_HOOK_INVALID", 400);
    public static readonly ErrorCode HookUnknown = new("BUILD_HOOK_UNKNOWN", 404);
    public static readonly ErrorCode SecretUnknown = new("BUILD_SECRET_UNKNOWN", 404);
    public static readonly ErrorCode SecretTooLarge = new("BUILD_SECRET_INVALID", 413);
}
