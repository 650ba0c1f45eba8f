using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Server.Http;

/// <summary>What build nodes send, read once and held against what it may be.</summary>
internal static partial class LeaseBodies
{
    private const int MaxClaimBytes = 64 << 10;
    private const int MaxBeatBytes = 1 << 20;
    private const int MaxResultBytes = 8 << 20;
    private const int MaxEntries = 64;

    // Of all types of a claim together, what they have from the claim counted for each: each becomes a value in the look for work.
    private const int MaxNames = 4096;
    private const int MaxSteps = 1000;
    private const int MaxProgress = 1024;
    private const int MaxMessage = 32 << 10;

    /// <summary>What only the registry itself says of a build.</summary>
    private static readonly string[] RegistryReasons =
    [
        FailureReasons.QueueExpired,
        FailureReasons.AttemptsExhausted,
        FailureReasons.ResultInvalid,
        FailureReasons.PolicyDenied,
    ];

    /// <exception cref="OciException"><c>BUILD_REQUEST_INVALID</c>.</exception>
    public static async Task<LeaseClaim> ClaimAsync(V2Context context)
    {
        var claim = await ReadAsync(context, MaxClaimBytes, BuildJson.Default.LeaseClaim, BuildErrors.RequestInvalid);
        var job = context.Query("job") ?? claim.Job;
        var fault =
            !NodeName().IsMatch(claim.Node) ? "node is a name of up to 128 letters, digits and . _ : / -"
            : IsWrong(claim.Platforms) || claim.Platforms.Any(p => !Platform.TryParse(p, out _))
                ? "platforms is a list of os/architecture[/variant]"
            : IsWrong(claim.EmulatedPlatforms, mayBeAbsent: true)
            || claim.EmulatedPlatforms?.Any(p => !Platform.TryParse(p, out _)) is true
                ? "emulatedPlatforms is a list of os/architecture[/variant]"
            : IsWrong(claim.Recipes)
            || IsWrong(claim.Outputs)
            || IsWrong(claim.Microarchitectures, mayBeAbsent: true)
            || IsWrong(claim.Networks, mayBeAbsent: true)
            || IsWrong(claim.Engines, mayBeAbsent: true)
            || IsWrong(claim.Roots, mayBeAbsent: true)
                ? "recipes, outputs, microarchitectures, networks, engines and roots are lists of names"
            : claim.Resources?.List().Any(r => r.Value < 0) is true ? "resources has numbers, 0 or more"
            : claim.Types is { } types && (types.Count is 0 or > MaxEntries || types.Any(IsWrong))
                ? $"types is a list of up to {MaxEntries} objects with platforms, emulatedPlatforms, microarchitectures, recipes, outputs, networks, resources and backend as the claim has them"
            : claim.Types is not null && claim.Machines().Sum(Names) > MaxNames
                ? $"types has {MaxNames} names at most, those of the claim itself counted for each type that has none"
            : claim.LeaseSeconds is <= 0 ? "leaseSeconds is a number of seconds, 1 or more"
            : claim.Labels is { } labels
            && (
                labels.Count > MaxEntries || labels.Any(l => l.Value is null or { Length: > 256 } || l.Key.Length > 128)
            )
                ? "labels has a few short texts"
            : null;
        return fault is null
            ? claim with
            {
                // As an id, or as the job's address.
                Job = job?[(job.LastIndexOf('/') + 1)..],
            }
            : throw new OciException(BuildErrors.RequestInvalid, $"the claim cannot be taken: {fault}");
    }

    /// <summary>The claim's <c>Idempotency-Key</c> and what it stands for; null where it brings none.</summary>
    /// <exception cref="OciException"><c>BUILD_REQUEST_INVALID</c>.</exception>
    public static (string Key, string Hash)? Repeatable(V2Context context, LeaseClaim claim) =>
        IdempotencyKeys.Read(context, JsonSerializer.Serialize(claim, BuildJson.Default.LeaseClaim));

    /// <exception cref="OciException"><c>BUILD_REQUEST_INVALID</c>.</exception>
    public static async Task<LeaseHeartbeat> BeatAsync(V2Context context)
    {
        var beat = await ReadAsync(context, MaxBeatBytes, BuildJson.Default.LeaseHeartbeat, BuildErrors.RequestInvalid);
        var fault =
            beat.Phase is { } phase && !Word().IsMatch(phase) ? "phase is a word"
            : beat.Progress is { Length: > MaxProgress } ? $"progress has {MaxProgress} characters at most"
            : IsWrong(beat.Steps) ? $"steps has {MaxSteps} steps at most"
            : beat.LeaseSeconds is <= 0 ? "leaseSeconds is a number of seconds, 1 or more"
            : null;
        return fault is null
            ? beat
            : throw new OciException(BuildErrors.RequestInvalid, $"the heartbeat cannot be taken: {fault}");
    }

    /// <exception cref="OciException"><c>BUILD_RESULT_INVALID</c>; the lease goes on.</exception>
    public static async Task<LeaseResult> ResultAsync(V2Context context)
    {
        var result = await ReadAsync(context, MaxResultBytes, BuildJson.Default.LeaseResult, BuildErrors.ResultInvalid);
        var fault =
            !BuildStates.IsDone(result.State) ? "state is succeeded, failed or canceled"
            : result.State == BuildStates.Succeeded && result.Manifest is null ? "a product needs a manifest"
            : result.State == BuildStates.Failed && result.Reason is null ? "a failure needs a reason"
            : result.Reason is { } reason && (!Word().IsMatch(reason) || RegistryReasons.Contains(reason))
                ? $"'{V2Context.Shorten(reason)}' is no reason that a node may give"
            : result.Message is { Length: > MaxMessage } ? $"message has {MaxMessage} characters at most"
            : IsWrong(result.Steps) ? $"steps has {MaxSteps} steps at most"
            : result.ResolvedDependencies is { } list && (list.Count > MaxSteps || list.Contains(null!))
                ? "resolvedDependencies is a list of bases"
            : null;
        return fault is null
            ? result
            : throw new OciException(BuildErrors.ResultInvalid, $"the result cannot be taken: {fault}");
    }

    private static async Task<T> ReadAsync<T>(V2Context context, int limit, JsonTypeInfo<T> type, ErrorCode code)
    {
        var body = await context.ReadBodyAsync(
            limit,
            new OciError(code with { Status = 413 }, $"the body may have {limit} bytes at most")
        );
        try
        {
            return JsonSerializer.Deserialize(body, type) ?? throw new JsonException("it is null");
        }
        catch (JsonException e)
        {
            throw new OciException(code, $"the body is not understood: {e.Message}");
        }
    }

    private static bool IsWrong(IReadOnlyList<string>? list, bool mayBeAbsent = false) =>
        list is null or { Count: 0 }
            ? !mayBeAbsent
            : list.Count > MaxEntries || list.Any(e => e is null or { Length: 0 or > 128 });

    private static bool IsWrong(OfferedType? type) =>
        type is null
        || IsWrong(type.Platforms, mayBeAbsent: true)
        || type.Platforms?.Any(p => !Platform.TryParse(p, out _)) is true
        || IsWrong(type.EmulatedPlatforms, mayBeAbsent: true)
        || type.EmulatedPlatforms?.Any(p => !Platform.TryParse(p, out _)) is true
        || IsWrong(type.Microarchitectures, mayBeAbsent: true)
        || IsWrong(type.Recipes, mayBeAbsent: true)
        || IsWrong(type.Outputs, mayBeAbsent: true)
        || IsWrong(type.Networks, mayBeAbsent: true)
        || type.Resources?.List().Any(r => r.Value < 0) is true
        || type.Backend is { } backend
            && (
                backend.Count > MaxEntries
                || backend.Any(b =>
                    b.Key.Length is 0 or > 128
                    || b.Value is null
                    || b.Value.Count > MaxEntries
                    || b.Value.Any(v => v is null or { Length: 0 or > 256 })
                )
            );

    private static int Names(OfferedType type) =>
        new[]
        {
            type.Platforms,
            type.EmulatedPlatforms,
            type.Microarchitectures,
            type.Recipes,
            type.Outputs,
            type.Networks,
        }.Sum(list => list?.Count ?? 0);

    private static bool IsWrong(IReadOnlyList<BuildStep>? steps) =>
        steps is not null && (steps.Count > MaxSteps || steps.Contains(null!));

    [GeneratedRegex(@"\A[A-Za-z0-9._:/-]{1,128}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex NodeName();

    [GeneratedRegex(@"\A[a-z0-9-]{1,40}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Word();
}
