using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>The body of <c>POST …/_build/v1/jobs</c>, and the defaults in a recipe's config blob.</summary>
public sealed record JobRequest
{
    public RecipeSource? Recipe { get; init; }

    /// <summary>Uploaded blobs with files for the build; only beside an inline recipe. Applied in order.</summary>
    public IReadOnlyList<Descriptor>? Contexts { get; init; }
    public IReadOnlyList<BuildTarget>? Targets { get; init; }

    /// <summary>Build arguments (<c>ARG</c>). Never for secrets: they stay visible in the image's history.</summary>
    public IReadOnlyDictionary<string, string>? Args { get; init; }
    public IReadOnlyList<SecretUse>? Secrets { get; init; }

    /// <summary>The stage to build; the last one where absent.</summary>
    public string? Target { get; init; }
    public IReadOnlyList<string>? Tags { get; init; }
    public IReadOnlyDictionary<string, string>? Labels { get; init; }
    public IReadOnlyList<BuildOutput>? Outputs { get; init; }

    /// <summary>
    /// Whether all files are to belong to one user and no set-id bits and capabilities to be left, in the image and in all
    /// that is made of it.
    /// </summary>
    public bool? Flatten { get; init; }
    public CacheOptions? Cache { get; init; }
    public ReproducibleOptions? Reproducible { get; init; }

    /// <summary><c>isolated</c> (default), <c>none</c> or <c>host</c>.</summary>
    public string? Network { get; init; }

    /// <summary><see cref="EmulationModes"/>; null lets the registry decide.</summary>
    public string? Emulation { get; init; }

    /// <summary>Seconds that the build may run.</summary>
    public int? TimeoutSeconds { get; init; }

    /// <summary>Seconds that it may wait for a build node.</summary>
    public int? QueueSeconds { get; init; }

    /// <summary>What one build of it needs; a node that has less does not get it.</summary>
    public BuildResources? Resources { get; init; }

    /// <summary>What only the node's own back end understands, for example a queue of a batch system; handed on as it is.</summary>
    public IReadOnlyDictionary<string, string>? Backend { get; init; }

    /// <summary><see cref="TagPolicies"/>; null moves the tags whatever they point at.</summary>
    public string? TagPolicy { get; init; }

    /// <summary>Whether what succeeded is published where not every target did.</summary>
    public bool? Partial { get; init; }

    /// <summary>Names of members that the registry must know, or refuse the request.</summary>
    public IReadOnlyList<string>? MustUnderstand { get; init; }

    /// <summary>Members that this version does not know; ignored unless named in <see cref="MustUnderstand"/>.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; set; }

    /// <summary>
    /// The member with a null among its items, which the rules for JSON do not look for; null where there is none.
    /// </summary>
    public string? MemberWithNull() =>
        Has(Contexts) || (Contexts ?? []).Any(c => Has(c.Annotations?.Values) || Has(c.Urls)) ? "contexts"
        : Has(Targets) ? "targets"
        : Has(Args?.Values) ? "args"
        : Has(Secrets) ? "secrets"
        : Has(Tags) ? "tags"
        : Has(Labels?.Values) ? "labels"
        : Has(Outputs) ? "outputs"
        : Has(Reproducible?.Bases) ? "reproducible.bases"
        : Has(Backend?.Values) ? "backend"
        : Has(MustUnderstand) ? "mustUnderstand"
        : null;

    private static bool Has(IEnumerable<object?>? items) => items?.Contains(null) is true;
}

/// <summary>Where the recipe is: an artifact in this repository by digest or tag, or inline with its bytes.</summary>
public sealed record RecipeSource
{
    public Digest? Digest { get; init; }
    public string? Tag { get; init; }
    public string? MediaType { get; init; }

    /// <summary>The recipe's bytes, base64 in JSON.</summary>
    public byte[]? Data { get; init; }
}

/// <summary>What to build for. <c>linux/amd64/v3</c> and <c>linux/amd64</c> with <c>x86_64_v3</c> mean the same.</summary>
public sealed record BuildTarget
{
    public required Platform Platform { get; init; }

    /// <summary>An archspec name such as <c>x86_64_v3</c> or <c>zen3</c>.</summary>
    public string? Microarchitecture { get; init; }
}

/// <summary>A secret that a step asks for with <c>RUN --mount=type=secret,id=…</c>; <see cref="Ref"/> names an uploaded value.</summary>
public sealed record SecretUse
{
    public required string Id { get; init; }
    public required string Ref { get; init; }
}

/// <summary>A format to deliver (build-extension, section 18).</summary>
public sealed record BuildOutput
{
    public const string Oci = "oci";
    public required string Format { get; init; }

    /// <summary>Of new layers, or of the file; what there is depends on the format.</summary>
    public string? Compression { get; init; }

    /// <summary>What follows the job's tags where this is delivered; <c>-FORMAT</c> where absent.</summary>
    public string? TagSuffix { get; init; }
}

/// <summary>Whether an earlier result may be the answer.</summary>
public sealed record CacheOptions
{
    public string? Policy { get; init; }

    /// <summary>Seconds since a result was built; older ones are not used.</summary>
    public int? MaxAgeSeconds { get; init; }
}

/// <summary>What makes a build repeatable.</summary>
public sealed record ReproducibleOptions
{
    /// <summary>Seconds since 1970 for every time stamp in the product (<c>SOURCE_DATE_EPOCH</c>).</summary>
    public long? SourceDateEpoch { get; init; }

    /// <summary>
    /// Which image each base is that the recipe names: a task's <see cref="JobTask.ResolvedDependencies"/>. A base that is
    /// not among them is looked up.
    /// </summary>
    public IReadOnlyList<ResolvedDependency>? Bases { get; init; }
}

/// <summary>The answer to an uploaded secret.</summary>
public sealed record SecretReceipt
{
    public required string Ref { get; init; }
    public required DateTimeOffset Expires { get; init; }
}
