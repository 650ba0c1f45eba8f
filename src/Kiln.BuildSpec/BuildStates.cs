namespace Kiln.BuildSpec;

/// <summary>States of a job and of its tasks (build-extension, "State machine"). Clients decide on <c>done</c> only.</summary>
public static class BuildStates
{
    public const string Queued = "queued";
    public const string Running = "running";
    public const string Canceling = "canceling";
    public const string Succeeded = "succeeded";
    public const string Failed = "failed";
    public const string Canceled = "canceled";

    public static bool IsDone(string state) => state is Succeeded or Failed or Canceled;
}

/// <summary>Why a job failed: <c>reason</c>.</summary>
public static class FailureReasons
{
    /// <summary>The recipe is at fault: a step exited non-zero, it does not parse, a base or a file is missing.</summary>
    public const string RecipeError = "recipe-error";

    /// <summary>The build service is at fault. Retried before it is reported.</summary>
    public const string SystemError = "system-error";
    public const string Timeout = "timeout";

    /// <summary>The build used more memory, processes, disk or log than it may; <c>message</c> says which.</summary>
    public const string LimitExceeded = "limit-exceeded";
    public const string QueueExpired = "queue-expired";
    public const string AttemptsExhausted = "attempts-exhausted";
    public const string NoBuilder = "no-builder";
    public const string PolicyDenied = "policy-denied";
    public const string ResultInvalid = "result-invalid";
}

/// <summary>What a running task is doing: <c>phase</c>. Informative.</summary>
public static class BuildPhases
{
    public const string Scheduled = "scheduled";
    public const string Fetching = "fetching";
    public const string Pulling = "pulling";
    public const string Building = "building";
    public const string Converting = "converting";
    public const string Pushing = "pushing";
    public const string Attesting = "attesting";
}

/// <summary>What started a job: <c>trigger</c>.</summary>
public static class JobTriggers
{
    public const string Push = "push";
    public const string Request = "request";

    /// <summary>Somebody pulled a tag that a recipe declares.</summary>
    public const string Pull = "pull";

    /// <summary>A base that it stands on has moved.</summary>
    public const string Base = "base";
}

/// <summary>When a job may move its tags: <c>tagPolicy</c>.</summary>
public static class TagPolicies
{
    /// <summary>Where they still point at what they pointed at when the job was accepted.</summary>
    public const string IfUnchanged = "if-unchanged";

    /// <summary>Where they are not there yet.</summary>
    public const string CreateOnly = "create-only";

    public static bool IsKnown(string policy) => policy is IfUnchanged or CreateOnly;
}

/// <summary>Policies for earlier results: <c>cache.policy</c>.</summary>
public static class CachePolicies
{
    /// <summary>A finished identical build is the answer while it is young enough (the default).</summary>
    public const string Reuse = "reuse";

    /// <summary>
    /// Bases are looked up anew. An earlier result is the answer only where they are all the same as then; cached steps of
    /// unchanged bases are used.
    /// </summary>
    public const string Refresh = "refresh";

    /// <summary>Neither results nor running builds nor cached steps are used.</summary>
    public const string None = "none";
}

/// <summary>Whether a build may be done on a machine that emulates its target's processor: <c>emulation</c>.</summary>
public static class EmulationModes
{
    /// <summary>Where no node builds natively (the default).</summary>
    public const string Allowed = "allowed";

    /// <summary>Natively, or not at all.</summary>
    public const string Denied = "denied";

    public static bool IsKnown(string mode) => mode is Allowed or Denied;
}

/// <summary>What network a build's steps see: <c>network</c>.</summary>
public static class NetworkModes
{
    /// <summary>A network of its own that reaches out, but not the host's loopback (the default).</summary>
    public const string Isolated = "isolated";

    /// <summary>No network at all.</summary>
    public const string None = "none";

    /// <summary>The host's network. Only where the operator allows it.</summary>
    public const string Host = "host";

    public static bool IsKnown(string mode) => mode is Isolated or None or Host;
}

/// <summary>How a build of a user without privileges comes to be root.</summary>
public static class RootMethods
{
    /// <summary>By a range of subordinate ids: files keep their owners.</summary>
    public const string SubordinateIds = "subuid";

    /// <summary>By a filter that pretends changes of owner: there is one id, and files have no owners.</summary>
    public const string Seccomp = "seccomp";
}
