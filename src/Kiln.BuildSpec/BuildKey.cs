using System.Text;
using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>
/// The build key, version 1 (build-extension, "Caching and dedupe"): the SHA-256 of the canonical JSON (RFC 8785) of
/// everything that can change what an execution builds. Tags, priority, resources and who asked are not in it.
/// Secret values never are.
/// </summary>
public sealed record BuildKey
{
    public required string BuildType { get; init; }

    /// <summary>Digest of the recipe blob, not of the artifact that carries it: oras stamps a time on each push.</summary>
    public required Digest Recipe { get; init; }

    /// <summary>Tree digests of the contexts in order: the same files packed twice are the same context.</summary>
    public IReadOnlyList<Digest> Contexts { get; init; } = [];
    public string Target { get; init; } = "";
    public IReadOnlyDictionary<string, string> Args { get; init; } = new Dictionary<string, string>();
    public IReadOnlyList<string> Secrets { get; init; } = [];
    public required Platform Platform { get; init; }
    public string Microarchitecture { get; init; } = "";
    public required string Format { get; init; }

    /// <summary>Everything else that can change bytes; values are canonical text.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    public string Compute() => Digest.Of(Encoding.UTF8.GetBytes(Canonical())).ToString();

    /// <summary>The JSON text that is hashed.</summary>
    public string Canonical() =>
        CanonicalJson.Write(
            new Dictionary<string, object>
            {
                ["v"] = 1L,
                ["buildType"] = BuildType,
                ["recipe"] = Recipe.ToString(),
                ["contexts"] = Contexts.Select(c => (object)c.ToString()).ToList(),
                ["target"] = Target,
                ["args"] = Args.ToDictionary(a => a.Key, a => (object)a.Value),
                ["secrets"] = Secrets.Order(StringComparer.Ordinal).Select(s => (object)s).ToList(),
                ["platform"] = Platform.ToString(),
                ["microarchitecture"] = Microarchitecture,
                ["format"] = Format,
                ["options"] = Options.ToDictionary(o => o.Key, o => (object)o.Value),
            }
        );
}
