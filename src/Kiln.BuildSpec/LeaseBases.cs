namespace Kiln.BuildSpec;

/// <summary>Where a build's bases may come from, as the registry that gives the lease has it.</summary>
public sealed record LeaseBases
{
    /// <summary>By which names that registry is called, as <c>host[:port]</c>; the first is the best one to reach it by.</summary>
    public IReadOnlyList<string> Own { get; init; } = [];

    /// <summary>Registries whose content is had from there, not from themselves.</summary>
    public IReadOnlyList<LeaseMirror> Mirrors { get; init; } = [];

    /// <summary>
    /// Patterns <c>HOST/REPOSITORY</c>: nothing else is a base, but what is in the registry itself. A host that is named in
    /// full may be at any address; others are to be public. Empty allows all that is public.
    /// </summary>
    public IReadOnlyList<string> Allow { get; init; } = [];

    /// <summary>Patterns of what is no base, whatever <see cref="Allow"/> says.</summary>
    public IReadOnlyList<string> Deny { get; init; } = [];
}

/// <summary>A registry that is mirrored: <c>Host/NAME</c> is <c>Prefix/NAME</c> in the registry that gives the lease.</summary>
public sealed record LeaseMirror(string Host, string Prefix);
