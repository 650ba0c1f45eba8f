using System.Text.Json.Serialization;

namespace Kiln.Inspect.Elf;

/// <summary>
/// What an ELF file declares of itself: for which machine it is, what has to be there for it to run. Its instructions are
/// not looked at.
/// </summary>
public sealed record ElfFacts
{
    /// <summary>As <c>uname -m</c> calls it, or <c>em-N</c> for one without a name here.</summary>
    [JsonPropertyName("m")]
    public required string Machine { get; init; }

    /// <summary>32 or 64.</summary>
    [JsonPropertyName("b")]
    public required int Bits { get; init; }

    /// <summary>A program or shared library, and not an object file, a kernel module or a core.</summary>
    [JsonPropertyName("x")]
    public bool Loadable { get; init; }

    /// <summary>What the header's flags say of calls, where they do: <c>lp64d</c> for example.</summary>
    [JsonPropertyName("a")]
    public string? Abi { get; init; }

    /// <summary>
    /// The level of the x86-64 psABI that its note declares as needed, 1 to 4; 0 where it declares none. Compilers write
    /// none unless they are told to.
    /// </summary>
    [JsonPropertyName("i")]
    public int Level { get; init; }

    /// <summary>The dynamic loader that it asks for.</summary>
    [JsonPropertyName("l")]
    public string? Interpreter { get; init; }

    /// <summary>By which name others need it.</summary>
    [JsonPropertyName("s")]
    public string? Soname { get; init; }

    /// <summary>The libraries that it needs, in its order.</summary>
    [JsonPropertyName("n")]
    public IReadOnlyList<string>? Needed { get; init; }

    /// <summary>The highest <c>GLIBC_x.y</c> of the symbols that it needs, without the prefix.</summary>
    [JsonPropertyName("g")]
    public string? GlibcNeeded { get; init; }

    /// <summary>The highest <c>GLIBC_x.y</c> of those that it has: of a C library, its version.</summary>
    [JsonPropertyName("d")]
    public string? GlibcProvided { get; init; }

    /// <summary>It is broken, or what it needs stands where it is not read: nothing is known of that.</summary>
    [JsonPropertyName("u")]
    public bool Unread { get; init; }

    /// <summary>Bytes of memory that it takes, roughly: of many short names most of it is not their characters.</summary>
    [JsonIgnore]
    public long Weight =>
        150
        + (2L * ((Interpreter?.Length ?? 0) + (Soname?.Length ?? 0)))
        + (Needed?.Sum(n => 40 + (2L * n.Length)) ?? 0);

    /// <summary>Nothing has to be loaded for it.</summary>
    [JsonIgnore]
    public bool IsStatic => Loadable && !Unread && Interpreter is null && Needed is null && Soname is null;
}
