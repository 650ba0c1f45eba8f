using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>
/// How a product was made: an in-toto statement with SLSA provenance, as the registry attaches it to the product
/// (build-extension, "Provenance and log"). The same facts give the same bytes.
/// </summary>
public sealed record ProvenanceStatement
{
    /// <summary>Media type and artifact type of a statement.</summary>
    public const string MediaType = "application/vnd.in-toto+json";
    public const string StatementType = "https://in-toto.io/Statement/v1";
    public const string SlsaProvenance = "https://slsa.dev/provenance/v1";

    /// <summary>The annotation that tells kinds of statements apart without their being read.</summary>
    public const string PredicateAnnotation = "in-toto.io/predicate-type";

    // People read it, and no browser runs it.
    private static readonly BuildJson Json = new(
        new JsonSerializerOptions(BuildJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }
    );

    [JsonPropertyName("_type")]
    public string Type { get; init; } = StatementType;

    /// <summary>The product: its name is <c>HOST/REPOSITORY</c>.</summary>
    public required IReadOnlyList<ProvenanceMaterial> Subject { get; init; }
    public string PredicateType { get; init; } = SlsaProvenance;
    public required ProvenancePredicate Predicate { get; init; }

    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this, Json.ProvenanceStatement);

    /// <summary>Reads a statement of provenance.</summary>
    /// <param name="fault">Why it is none, where null is returned.</param>
    public static ProvenanceStatement? Read(ReadOnlySpan<byte> bytes, out string? fault)
    {
        try
        {
            var read = JsonSerializer.Deserialize(bytes, Json.ProvenanceStatement);
            fault =
                read is null ? "it is empty"
                : read.Type != StatementType ? $"its _type is {read.Type}"
                : read.PredicateType != SlsaProvenance ? $"its predicateType is {read.PredicateType}"
                : read.Subject.Contains(null!) ? "one of its subjects is null"
                : read.Predicate.BuildDefinition.ResolvedDependencies.Contains(null!)
                    ? "one of its resolvedDependencies is null"
                : null;
            return fault is null ? read : null;
        }
        catch (JsonException e)
        {
            fault = e.Message;
            return null;
        }
    }
}

/// <summary>The predicate of SLSA provenance, version 1.</summary>
public sealed record ProvenancePredicate
{
    public required ProvenanceBuild BuildDefinition { get; init; }
    public required ProvenanceRun RunDetails { get; init; }
}

/// <summary>What was asked for, and what went in.</summary>
public sealed record ProvenanceBuild
{
    /// <summary><see cref="ProvenanceNames.BuildType"/>; it says what the parameters mean.</summary>
    public required string BuildType { get; init; }
    public required ProvenanceParameters ExternalParameters { get; init; }
    public ProvenanceCircumstances? InternalParameters { get; init; }

    /// <summary>The recipe artifact, its recipe layer, the contexts and the bases.</summary>
    public required IReadOnlyList<ProvenanceMaterial> ResolvedDependencies { get; init; }
}

/// <summary>What whoever asked for the build chose, after all defaults: enough to ask for it again.</summary>
public sealed record ProvenanceParameters
{
    /// <summary>The recipe artifact's manifest.</summary>
    public required JobRecipe Recipe { get; init; }
    public required string Platform { get; init; }
    public string? Compression { get; init; }
    public string? Microarchitecture { get; init; }
    public required string Format { get; init; }

    /// <summary>Without those that have the name of a secret.</summary>
    public IReadOnlyDictionary<string, string> Args { get; init; } = new Dictionary<string, string>();
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
    public string? Target { get; init; }
    public required string Network { get; init; }

    /// <summary><c>denied</c> where it was not to be built by emulation.</summary>
    public string? Emulation { get; init; }
    public ReproducibleOptions? Reproducible { get; init; }
    public required int TimeoutSeconds { get; init; }

    /// <summary>Whether cached steps could be used.</summary>
    public required bool StepCache { get; init; }

    /// <summary>Whether secrets were handed to the build; neither their names nor their values are told.</summary>
    public bool UsesSecrets { get; init; }
}

/// <summary>What the builder chose or had.</summary>
public sealed record ProvenanceCircumstances
{
    /// <summary>The build key.</summary>
    public required string Key { get; init; }

    /// <summary>Who built, by its credential.</summary>
    public string? Node { get; init; }
    public required int Attempt { get; init; }

    /// <summary>True where the node offered the platform as one that it emulates; how, its confinement says.</summary>
    public bool? Emulated { get; init; }

    /// <summary>As the node reports it.</summary>
    public string? Engine { get; init; }

    /// <inheritdoc cref="Engine"/>
    public BuildConfinement? Confinement { get; init; }
}

/// <summary>Who built, when, and what else came of it.</summary>
public sealed record ProvenanceRun
{
    public required ProvenanceBuilder Builder { get; init; }
    public required ProvenanceTimes Metadata { get; init; }

    /// <summary>The log.</summary>
    public IReadOnlyList<ProvenanceMaterial>? Byproducts { get; init; }
}

/// <summary>Who is trusted to have built as it says here.</summary>
public sealed record ProvenanceBuilder
{
    /// <summary>A URI of the registry's own and the node's identity, from its credential.</summary>
    public required string Id { get; init; }

    /// <summary>The registry's program and version.</summary>
    public IReadOnlyDictionary<string, string>? Version { get; init; }
}

/// <summary>Which run it was. Times are RFC 3339 in UTC.</summary>
public sealed record ProvenanceTimes
{
    /// <summary>The address of the job under which it ran.</summary>
    public string? InvocationId { get; init; }

    /// <summary>When its first attempt began.</summary>
    public string? StartedOn { get; init; }
    public string? FinishedOn { get; init; }
}

/// <summary>Some bytes that a statement speaks of (in-toto, "ResourceDescriptor").</summary>
public sealed record ProvenanceMaterial
{
    public string? Name { get; init; }
    public string? Uri { get; init; }

    /// <summary>Algorithm, and the digest in hexadecimal.</summary>
    public required IReadOnlyDictionary<string, string> Digest { get; init; }
    public string? MediaType { get; init; }
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }

    /// <summary>Whether it speaks of the bytes of a digest.</summary>
    public bool Is(Digest digest) => Digest.TryGetValue(digest.Algorithm, out var hex) && hex == digest.Encoded;

    /// <summary>The digest; null where it has none of a known algorithm.</summary>
    public Digest? Known() =>
        Digest
            .OrderBy(d => d.Key, StringComparer.Ordinal)
            .Select(d => Oci.Digest.TryParse($"{d.Key}:{d.Value}", out var digest) ? digest : null)
            .FirstOrDefault(d => d is not null);

    public static IReadOnlyDictionary<string, string> DigestOf(Digest digest) =>
        new Dictionary<string, string> { [digest.Algorithm] = digest.Encoded };
}

/// <summary>Names that statements of the extension use.</summary>
public static class ProvenanceNames
{
    /// <summary>How materials are called.</summary>
    public const string Recipe = "recipe";
    public const string RecipeLayer = "recipe-layer";
    public const string Context = "context";
    public const string Base = "base";
    public const string Image = "image";
    public const string Log = "log";

    /// <summary>On a context: leading path components that were dropped.</summary>
    public const string Strip = RecipeAnnotations.ContextStrip;

    /// <summary>What a statement's parameters mean: that of a kind of recipe.</summary>
    public static string BuildType(string recipeType) => $"https://supercontainers.org/build/{recipeType}/v1";
}
