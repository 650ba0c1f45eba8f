namespace Kiln.Conformance;

/// <summary>Something that a specification asks of a registry, and the requests that show whether it is so.</summary>
public sealed record Check
{
    internal Check(string id, string title, string requirements, Func<Session, Task> body) =>
        (Id, Title, Requirements, Body) = (id, title, requirements.Split(' '), body);

    /// <summary><c>CATEGORY.NAME</c>.</summary>
    public string Id { get; }

    /// <summary>What has to be so, in a few words.</summary>
    public string Title { get; }

    /// <summary>
    /// Numbers of the <c>_build</c> extension (<c>J-7</c>), and endpoints of the distribution specification (<c>end-2</c>).
    /// </summary>
    public IReadOnlyList<string> Requirements { get; }

    /// <summary>One of <see cref="Categories"/>.</summary>
    public string Category => Id[..Id.IndexOf('.', StringComparison.Ordinal)];

    internal Func<Session, Task> Body { get; }

    public override string ToString() => Id;
}

/// <summary>The categories of checks. All but <see cref="Store"/> are those that <c>info</c> of the extension lists.</summary>
public static class Categories
{
    /// <summary>The distribution specification alone: on any registry.</summary>
    public const string Store = "store";
    public const string Discover = "discover";
    public const string Request = "request";
    public const string Trigger = "trigger";
    public const string Node = "node";
    public const string Hooks = "hooks";
    public const string PullBuild = "pull-build";

    /// <summary>In the order in which they run.</summary>
    public static IReadOnlyList<string> All { get; } = [Store, Discover, Request, Trigger, Node, Hooks, PullBuild];
}

/// <summary>How a check ended.</summary>
public enum Outcome
{
    /// <summary>It is as the specification says.</summary>
    Pass,

    /// <summary>It is not, or there was no answer in time.</summary>
    Fail,

    /// <summary>The registry says, in a way that the specification allows, that it does not have this.</summary>
    Unsupported,

    /// <summary>It could not be seen; the reason is said.</summary>
    Skipped,
}

/// <summary>What came of a check.</summary>
/// <param name="Reason">Why it did not pass; null where it did.</param>
/// <param name="Exchanges">Its requests, a line each: method, path and status. Never a header or a query.</param>
public sealed record CheckResult(
    Check Check,
    Outcome Outcome,
    string? Reason,
    TimeSpan Duration,
    IReadOnlyList<string> Exchanges
);

/// <summary>The run cannot begin or go on: the registry cannot be reached, or what was asked for makes no sense.</summary>
public sealed class ConformanceException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>The registry does not do what it has to.</summary>
internal sealed class CheckFailedException(string message) : Exception(message);

/// <summary>The registry says that it does not have this, and may.</summary>
internal sealed class UnsupportedException(string message) : Exception(message);

/// <summary>The check could not get as far as what it is about.</summary>
internal sealed class SkippedException(string message) : Exception(message);
