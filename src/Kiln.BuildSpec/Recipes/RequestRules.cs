using System.Text;
using System.Text.Json;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>
/// What a request must be before it becomes a job: a list of rules in the order in which they are checked, each with the
/// error that it owns.
/// </summary>
public static class RequestRules
{
    private const int MaxTags = 32;
    private const int MaxTargets = 16;
    private const int MaxNamed = 256;

    // Each becomes one argument of a program, of which Linux takes 128 KiB (MAX_ARG_STRLEN).
    private const int MaxNamedBytes = 120 << 10;

    // The year 9999, where times of the usual formats end.
    private const int MaxPins = 64;
    private const long MaxEpoch = 253_402_300_799;
    private const int MaxSecrets = 32;
    private const int MaxBackend = 32;
    private const int MaxBackendBytes = 256;

    /// <summary>Everything here that a request is held against.</summary>
    private sealed record Subject(JobRequest Request, RecipeContent Recipe, BuildOffer Offer);

    private static readonly IReadOnlyList<(Func<Subject, bool> Broken, Func<Subject, OciError> Error)> Rules =
    [
        (
            s => !s.Offer.RecipeTypes.Contains(s.Recipe.Type),
            s =>
                Unsupported(
                    BuildErrors.RecipeUnsupported,
                    s.Recipe.Type == RecipeTypes.Singularity
                        ? "no build node here has Apptainer, which builds definitions (recipes of type 'singularity')"
                        : $"no build node here builds recipes of type '{s.Recipe.Type}'",
                    s.Offer.RecipeTypes
                )
        ),
        (
            s => s.Request.Tags!.Count > MaxTags,
            s => Invalid($"{s.Request.Tags!.Count} tags are asked for; {MaxTags} is the limit")
        ),
        (
            s => s.Request.Tags!.Any(t => !Tag.TryParse(t, out _)),
            s =>
                Invalid(
                    $"'{s.Request.Tags!.First(t => !Tag.TryParse(t, out _))}' is not a tag; use letters, digits and . _ -, "
                        + $"at most {Tag.MaxLength} characters, not beginning with . or -"
                )
        ),
        (
            s => s.Request.Tags!.Intersect(s.Recipe.OwnTags).Any(),
            s =>
                Invalid(
                    $"the tag '{s.Request.Tags!.Intersect(s.Recipe.OwnTags).First()}' is the recipe's own; push the recipe "
                        + "as NAME.recipe, or ask for another tag"
                )
        ),
        (
            s => s.Request.Targets!.Count is 0 or > MaxTargets,
            s => Invalid($"a request has 1 to {MaxTargets} targets, not {s.Request.Targets!.Count}")
        ),
        (
            s => s.Request.Targets!.Any(BuildTargets.Contradicts),
            s => Invalid(TargetRules.Contradiction(s.Request.Targets!.First(BuildTargets.Contradicts)))
        ),
        (
            s => s.Request.Emulation is { } emulation && !EmulationModes.IsKnown(emulation),
            s => Invalid($"'{s.Request.Emulation}' is not a word for emulation; use allowed or denied")
        ),
        (
            // A node that cannot say for what it compiles must not be asked to: the result would claim what it is not.
            s => s.Request.Targets!.Any(t => !TargetRules.IsHad(t, s.Request.Emulation, s.Offer)),
            s =>
                Unsupported(
                    BuildErrors.PlatformUnsupported,
                    TargetRules.Refusal(
                        s.Request.Targets!.First(t => !TargetRules.IsHad(t, s.Request.Emulation, s.Offer)),
                        s.Offer
                    ),
                    [
                        .. s.Offer.Platforms.Concat(s.Offer.EmulatedPlatforms).Distinct().Select(p => p.ToString()),
                        .. s.Offer.Microarchitectures,
                    ]
                )
        ),
        (
            s => OutputRules.Unsupported(s.Request, s.Offer) is not null,
            s =>
                OutputRules.Unsupported(s.Request, s.Offer) is var (sentence, supported)
                    ? Unsupported(BuildErrors.OutputUnsupported, sentence, supported)
                    : Invalid("")
        ),
        (
            s => OutputRules.Contradiction(s.Request, s.Recipe.OwnTags) is not null,
            s => Invalid(OutputRules.Contradiction(s.Request, s.Recipe.OwnTags)!)
        ),
        (
            s => !NetworkModes.IsKnown(s.Request.Network!),
            s => Invalid($"'{s.Request.Network}' is not a network; use isolated, none or host")
        ),
        (
            s => !s.Offer.Networks.Contains(s.Request.Network!),
            s =>
                Invalid(
                    $"the network '{s.Request.Network}' is not to be had here; there is {string.Join(", ", s.Offer.Networks)}"
                )
        ),
        (
            s => s.Request.Resources?.List().Any(r => r.Value <= 0) is true,
            s =>
                Invalid($"resources.{s.Request.Resources!.List().First(r => r.Value <= 0).Name} is a number, 1 or more")
        ),
        (
            s => s.Request.Resources?.Over(s.Offer.Resources) is not null,
            s =>
                s.Request.Resources!.Over(s.Offer.Resources) is var (name, asked, there)
                    ? Invalid(
                        $"no build node here has so much for one build: resources.{name} is {asked}, and {there} is the most"
                    )
                    : Invalid("")
        ),
        (
            s => s.Request.Backend is { } backend && (backend.Count > MaxBackend || !backend.All(IsBackend)),
            _ =>
                Invalid(
                    $"backend has at most {MaxBackend} names with texts, each pair of at most {MaxBackendBytes} bytes and without control characters"
                )
        ),
        (
            s => s.Request.TimeoutSeconds is <= 0 || s.Request.TimeoutSeconds > s.Offer.MaxTimeoutSeconds,
            s => Invalid($"a build may run 1 to {s.Offer.MaxTimeoutSeconds} s, not {s.Request.TimeoutSeconds}")
        ),
        (
            s => s.Request.QueueSeconds is <= 0 || s.Request.QueueSeconds > s.Offer.MaxQueueSeconds,
            s => Invalid($"a job may wait 1 to {s.Offer.MaxQueueSeconds} s, not {s.Request.QueueSeconds}")
        ),
        (
            s =>
                s.Request.Cache?.Policy
                    is not (null or CachePolicies.Reuse or CachePolicies.Refresh or CachePolicies.None),
            s => Invalid($"'{s.Request.Cache!.Policy}' is not a cache policy; use reuse, refresh or none")
        ),
        (
            s => s.Request.TagPolicy is { } policy && !TagPolicies.IsKnown(policy),
            s => Invalid($"'{s.Request.TagPolicy}' is not a tag policy; use if-unchanged or create-only")
        ),
        (
            s => s.Request.Cache?.MaxAgeSeconds is < 0 || s.Request.Reproducible?.SourceDateEpoch is < 0 or > MaxEpoch,
            _ => Invalid($"cache.maxAgeSeconds and reproducible.sourceDateEpoch are 0 to {MaxEpoch}")
        ),
        (
            s => s.Request.Reproducible?.Bases is { } bases && !ArePins(bases),
            _ =>
                Invalid(
                    $"reproducible.bases is a list of at most {MaxPins} different {{uri, digest}} whose uri is docker:// and "
                        + "the name of a base as the recipe has it"
                )
        ),
        (
            s => s.Request.Args!.Keys.Any(name => !IsArgument(name)),
            s =>
                Invalid(
                    $"'{s.Request.Args!.Keys.First(name => !IsArgument(name))}' is not the name of a build argument; use "
                        + "letters, digits and _, not beginning with a digit"
                )
        ),
        (
            s => s.Request.Args!.Values.Any(HasNul),
            s => Invalid($"the build argument '{s.Request.Args!.First(a => HasNul(a.Value)).Key}' has a NUL byte")
        ),
        (
            s => s.Request.Labels!.Any(l => !IsLabel(l.Key) || HasNul(l.Value)),
            s =>
                Invalid(
                    $"the label '{s.Request.Labels!.First(l => !IsLabel(l.Key) || HasNul(l.Value)).Key}' cannot be: a "
                        + "label has a name without = and control characters, and no NUL byte"
                )
        ),
        (s => IsTooLarge(s.Request.Args!), _ => TooLarge("build arguments")),
        (s => IsTooLarge(s.Request.Labels!), _ => TooLarge("labels")),
        (
            s => s.Request.Secrets!.Count > MaxSecrets || s.Request.Secrets!.Any(x => !IsSecretId(x.Id)),
            _ =>
                Invalid(
                    $"at most {MaxSecrets} secrets, each with an id of letters, digits and . _ -, at most 64 characters"
                )
        ),
        (
            s =>
                s.Request.Secrets!.DistinctBy(x => x.Id).Count() != s.Request.Secrets!.Count
                || s.Request.Secrets!.DistinctBy(x => x.Ref).Count() != s.Request.Secrets!.Count,
            _ => Invalid("each secret has an id and a ref of its own")
        ),
    ];

    /// <summary>Checks a request in which everything that was left open is filled in.</summary>
    /// <exception cref="OciException">The first broken rule's error.</exception>
    public static void Check(JobRequest request, RecipeContent recipe, BuildOffer offer)
    {
        var subject = new Subject(request, recipe, offer);
        foreach (var (broken, error) in Rules)
        {
            if (broken(subject))
            {
                throw new OciException(error(subject));
            }
        }

        if (NodeFit.Refusal(request, recipe, offer) is { } lack)
        {
            throw new OciException(Invalid(lack));
        }

        if (recipe.Type == RecipeTypes.Dockerfile)
        {
            CheckDockerfile(recipe.Text, request.Target);
        }
        else if (recipe.Type == RecipeTypes.Singularity)
        {
            DefinitionRequestRules.Check(request, recipe.Text, offer.Bootstraps);
        }
    }

    private static void CheckDockerfile(string text, string? target)
    {
        if (!Dockerfile.TryParse(text, out var file, out var fault))
        {
            throw new OciException(BuildErrors.RecipeInvalid, $"the Dockerfile cannot be read: {fault}");
        }

        if (file.StageIndex(target) < 0)
        {
            throw new OciException(BuildErrors.RecipeInvalid, $"the Dockerfile has no stage '{target}'");
        }
    }

    private static bool IsArgument(string name) =>
        name.Length is > 0 and <= 128
        && !char.IsAsciiDigit(name[0])
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_');

    private static bool ArePins(IReadOnlyList<ResolvedDependency> bases) =>
        bases.Count <= MaxPins
        && bases.DistinctBy(b => b.Uri).Count() == bases.Count
        && bases.All(b =>
            b.Uri.StartsWith("docker://", StringComparison.Ordinal) && Reference.TryParse(b.Uri[9..], out _)
        );

    private static bool IsLabel(string name) => name.Length > 0 && !name.Any(c => c == '=' || char.IsControl(c));

    private static bool HasNul(string value) => value.Contains('\0', StringComparison.Ordinal);

    private static bool IsBackend(KeyValuePair<string, string> pair) =>
        pair.Key.Length > 0
        && Encoding.UTF8.GetByteCount(pair.Key) + Encoding.UTF8.GetByteCount(pair.Value) <= MaxBackendBytes
        && !pair.Key.Concat(pair.Value).Any(char.IsControl);

    private static bool IsSecretId(string id) =>
        id.Length is > 0 and <= 64 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-');

    private static bool IsTooLarge(IReadOnlyDictionary<string, string> named) =>
        named.Count > MaxNamed
        || named.Sum(a => (long)Encoding.UTF8.GetByteCount(a.Key) + Encoding.UTF8.GetByteCount(a.Value))
            > MaxNamedBytes;

    private static OciError TooLarge(string what) =>
        Invalid($"at most {MaxNamed} {what}, together at most {MaxNamedBytes} bytes");

    private static OciError Invalid(string message) => new(BuildErrors.RequestInvalid, message);

    // detail: what there is instead
    private static OciError Unsupported(ErrorCode code, string message, IReadOnlyList<string> supported) =>
        new(
            code,
            supported.Count == 0 ? message : $"{message}; supported: {string.Join(", ", supported)}",
            JsonSerializer.SerializeToElement(supported, BuildJson.Default.IReadOnlyListString)
        );
}
