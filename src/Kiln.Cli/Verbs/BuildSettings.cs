using Kiln.BuildSpec;
using Kiln.Cli.Context;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>What <c>kiln build</c> was told.</summary>
internal sealed record BuildSettings
{
    public required IReadOnlyList<Reference> Tags { get; init; }
    public string? File { get; init; }
    public string? Context { get; init; }
    public required IReadOnlyDictionary<string, string> Args { get; init; }
    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>What to build for; null for what the registry builds by default.</summary>
    public IReadOnlyList<BuildTarget>? Targets { get; init; }
    public required IReadOnlyList<SecretSource> Secrets { get; init; }
    public string? Target { get; init; }
    public string? Network { get; init; }

    /// <summary>Seconds.</summary>
    public int? TimeoutSeconds { get; init; }

    /// <summary>The members of the request that say under which conditions it builds; all others are null.</summary>
    public required JobRequest Conditions { get; init; }
    public bool Detach { get; init; }
    public bool Json { get; init; }
    public required string Progress { get; init; }

    /// <summary>The one repository of all tags.</summary>
    public RemoteRepository Repository()
    {
        var repositories = Tags.Select(RemoteRepository.Of).Distinct().ToList();
        if (Tags.FirstOrDefault(t => t.Digest is not null) is { } pinned)
        {
            throw CommandFailure.Usage(
                $"'{pinned}' has a digest; an image that is still to be built can only have a tag"
            );
        }

        return repositories.Count == 1
            ? repositories[0]
            : throw CommandFailure.Usage(
                $"one build delivers into one repository, but the tags name {string.Join(" and ", repositories)}"
            );
    }

    public JobRequest Request(BuildInput input, IReadOnlyList<SecretUse> secrets) =>
        Conditions with
        {
            Recipe = new RecipeSource { MediaType = input.Recipe.MediaType, Data = input.Recipe.Bytes },
            Contexts = input.Context is null ? null : [input.Context.Descriptor],
            Targets = Targets,
            Args = Args.Count == 0 ? null : Args,
            Labels = Labels.Count == 0 ? null : Labels,
            Secrets = secrets.Count == 0 ? null : secrets,
            Target = Target,
            Tags = [.. Tags.Select(t => t.ManifestReference).Distinct()],
            Network = Network,
            TimeoutSeconds = TimeoutSeconds,
        };
}
