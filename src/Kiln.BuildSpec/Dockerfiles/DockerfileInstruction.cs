namespace Kiln.BuildSpec.Dockerfiles;

/// <summary>One instruction of a Dockerfile.</summary>
/// <param name="Name">In upper case, for example <c>COPY</c>.</param>
/// <param name="Flags">The words that start with <c>--</c> before the arguments, without the dashes.</param>
/// <param name="Arguments">The rest, with continued lines joined; heredoc bodies are not in it.</param>
/// <param name="Heredocs">Bodies of here-documents, in order.</param>
/// <param name="Raw">The text as written, all its lines.</param>
/// <param name="Line">Counted from 1.</param>
public sealed record DockerfileInstruction(
    string Name,
    IReadOnlyList<DockerfileFlag> Flags,
    string Arguments,
    IReadOnlyList<DockerfileHeredoc> Heredocs,
    string Raw,
    int Line
)
{
    /// <summary>The value of a flag, or null.</summary>
    public string? Flag(string name) => Flags.FirstOrDefault(f => f.Name == name)?.Value;
}

/// <summary>A flag such as <c>--from=build</c>: its name without dashes, and its value (empty without <c>=</c>).</summary>
public sealed record DockerfileFlag(string Name, string Value);

/// <summary>A here-document: the word that ends it, whether leading tabs are dropped, and its text.</summary>
public sealed record DockerfileHeredoc(string Word, bool StripTabs, bool Expand, string Body);

/// <summary>A stage: what it starts from and what it is called.</summary>
/// <param name="Image">The image as written, variables not yet filled in.</param>
/// <param name="Name">In lower case; null where it has none.</param>
/// <param name="Platform">The <c>--platform</c> flag as written, or null.</param>
public sealed record DockerfileStage(
    string Image,
    string? Name,
    string? Platform,
    DockerfileInstruction From,
    IReadOnlyList<DockerfileInstruction> Instructions
);

/// <summary>An image outside the recipe that a build needs.</summary>
/// <param name="Written">The reference with variables filled in.</param>
/// <param name="Platform">The platform that it is needed for.</param>
public sealed record BaseReference(string Written, Kiln.Oci.Platform Platform)
{
    /// <summary>Whether it is a SIF file in a registry (<c>oras://</c>), which has no layers to stand on.</summary>
    public bool IsSif { get; init; }
}
