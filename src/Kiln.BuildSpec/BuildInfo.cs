namespace Kiln.BuildSpec;

/// <summary>The body of <c>GET …/_build/v1/info</c>: what this registry builds, and its limits.</summary>
public sealed record BuildInfo
{
    public string SpecVersion { get; init; } = "1.0.0";
    public required IReadOnlyList<string> Categories { get; init; }
    public required IReadOnlyList<BuildInfoRecipe> Recipes { get; init; }

    /// <summary>Empty where no engine is there: the registry then builds nothing.</summary>
    public required IReadOnlyList<string> Platforms { get; init; }

    /// <summary>Those of <see cref="Platforms"/> that are built by emulation only; null where there are none.</summary>
    public IReadOnlyList<string>? EmulatedPlatforms { get; init; }

    /// <summary>Names of archspec that may be asked for; null where there are none.</summary>
    public IReadOnlyList<string>? Microarchitectures { get; init; }
    public required IReadOnlyList<string> Outputs { get; init; }

    /// <summary>Whether images can be flattened (<see cref="JobRequest.Flatten"/>).</summary>
    public bool? Flatten { get; init; }
    public required BuildInfoTrigger Trigger { get; init; }
    public required BuildInfoLimits Limits { get; init; }
    public BuildInfoLease? Lease { get; init; }
    public BuildInfoPull? PullBuild { get; init; }

    /// <summary>How products tell how they were made.</summary>
    public BuildInfoProvenance? Provenance { get; init; }

    /// <summary>The engines of this registry's own node, with versions, for example <c>buildah 1.28.2</c>.</summary>
    public required IReadOnlyList<string> Engines { get; init; }

    /// <inheritdoc cref="RootMethods"/>
    /// <remarks>Null where nobody says.</remarks>
    public IReadOnlyList<string>? Roots { get; init; }

    /// <summary>The networks that a request may ask for.</summary>
    public required IReadOnlyList<string> Networks { get; init; }

    /// <summary>The nodes, each by itself, that build for whoever asks; null for those who may have nothing built.</summary>
    public IReadOnlyList<BuildInfoNode>? Nodes { get; init; }

    /// <summary>The registry, as <c>host[:port]</c>, in front of which this one stands: content is there; null where it is here.</summary>
    public string? Behind { get; init; }

    /// <summary>Why nothing can be built, where that is so.</summary>
    public string? Unavailable { get; init; }
}

/// <summary>One node, with what its claims say (build-extension, N-1).</summary>
public sealed record BuildInfoNode
{
    public required string Name { get; init; }
    public required IReadOnlyList<string> Platforms { get; init; }
    public IReadOnlyList<string>? EmulatedPlatforms { get; init; }
    public IReadOnlyList<string>? Microarchitectures { get; init; }
    public required IReadOnlyList<string> Recipes { get; init; }
    public required IReadOnlyList<string> Outputs { get; init; }
    public IReadOnlyList<string>? Networks { get; init; }
    public IReadOnlyList<string>? Engines { get; init; }
    public IReadOnlyList<string>? Roots { get; init; }
    public BuildResources? Resources { get; init; }

    /// <summary>The kinds of machines that it starts builds on; null where it is one itself.</summary>
    public IReadOnlyList<OfferedType>? Types { get; init; }

    /// <summary>What else is known of it, for people: its kernel, its C library, its GPUs.</summary>
    public IReadOnlyDictionary<string, string>? Labels { get; init; }

    public static BuildInfoNode Of(LeaseClaim claim) =>
        new()
        {
            Name = claim.Node,
            Platforms = claim.Platforms,
            EmulatedPlatforms = claim.EmulatedPlatforms,
            Microarchitectures = claim.Microarchitectures,
            // What is made of a finished image is told by the outputs.
            Recipes = [.. claim.Recipes.Where(r => r != RecipeTypes.Image)],
            Outputs = claim.Outputs,
            Networks = claim.Networks,
            Engines = claim.Engines,
            Roots = claim.Roots,
            Resources = claim.Resources,
            Types = claim.Types,
            Labels = claim.Labels,
        };
}

/// <summary>A kind of recipe and the media types it comes in.</summary>
public sealed record BuildInfoRecipe(string Type, IReadOnlyList<string> MediaTypes);

/// <summary>Whether a push starts a build: <c>off</c>, <c>opt-in</c> or <c>on</c>.</summary>
public sealed record BuildInfoTrigger(string OnPush);

/// <summary>Whether pulls wait for builds, and how long at a time, in seconds.</summary>
public sealed record BuildInfoPull(bool Enabled, int HoldSeconds);

/// <summary>How products tell how they were made.</summary>
public sealed record BuildInfoProvenance
{
    /// <summary>Of what is attached to them.</summary>
    public required IReadOnlyList<string> ArtifactTypes { get; init; }

    /// <summary>In PEM: the key that signs; null where nothing is signed.</summary>
    public string? PublicKey { get; init; }
}

/// <summary>How leases are given to build nodes.</summary>
public sealed record BuildInfoLease
{
    /// <summary>Seconds that a lease lives after each sign of life, where the claim does not say.</summary>
    public required int DefaultSeconds { get; init; }

    /// <summary>The most that a claim gets.</summary>
    public required int MaxSeconds { get; init; }
    public required int MaxAttempts { get; init; }
}

/// <summary>Limits; sizes in bytes, times in seconds.</summary>
public sealed record BuildInfoLimits
{
    public required int MaxWaitSeconds { get; init; }
    public required int MaxJobSeconds { get; init; }
    public required int MaxQueueSeconds { get; init; }
    public required long MaxContextBytes { get; init; }
    public required int MaxInlineRecipeBytes { get; init; }
    public required long MaxLogBytes { get; init; }

    /// <summary>The most that a request may ask for one build; null where nothing of it may be asked for.</summary>
    public int? MaxCpus { get; init; }

    /// <inheritdoc cref="MaxCpus"/>
    public long? MaxMemoryBytes { get; init; }

    /// <inheritdoc cref="MaxCpus"/>
    public long? MaxDiskBytes { get; init; }

    /// <inheritdoc cref="MaxCpus"/>
    public int? MaxGpus { get; init; }
}

/// <summary>The body of <c>GET /v2/_oci/ext/discover</c> (distribution-spec, extensions/_oci.md).</summary>
public sealed record ExtensionList(IReadOnlyList<ExtensionEntry> Extensions);

/// <summary>One extension that a registry implements.</summary>
public sealed record ExtensionEntry(string Name, string Url, string Description, IReadOnlyList<string> Endpoints);
