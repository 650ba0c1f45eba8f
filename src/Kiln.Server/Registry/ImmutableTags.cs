using System.Data.Common;
using System.Globalization;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>
/// The operator's word that some tags stay what they are. It is asked in the transaction that would move or delete a tag, so
/// that it holds for whoever does: pushes, builds, deletions, retention.
/// </summary>
internal sealed class ImmutableTags
{
    private readonly List<(string Source, NamePatterns Names)> _rules = [];

    private ImmutableTags() { }

    /// <summary>Reads rules; what is wrong with them is added to <paramref name="faults"/>.</summary>
    public static ImmutableTags Parse(ImmutabilityOptions options, List<string> faults)
    {
        var tags = new ImmutableTags();
        for (var i = 0; i < options.Rules.Count; i++)
        {
            var source = string.Create(CultureInfo.InvariantCulture, $"immutability rule {i + 1}");
            var rule = options.Rules[i];
            tags._rules.Add((source, NamePatterns.Parse(source, rule.Repositories, rule.Tags, faults)));
        }

        return tags;
    }

    /// <summary>The rule that makes a tag immutable; null where none does.</summary>
    public string? RuleFor(RepositoryName repository, string tag)
    {
        foreach (var (source, names) in _rules)
        {
            if (names.Mean(repository) && names.Mean(tag))
            {
                return $"{source} ({names})";
            }
        }

        return null;
    }

    /// <summary>Why a push may not set tags on a manifest; null where it may.</summary>
    /// <param name="digest">What they would point at; null for something that they do not point at yet.</param>
    public OciError? Refusal(
        DbTransaction transaction,
        long repository,
        RepositoryName name,
        IEnumerable<Tag> tags,
        Digest? digest
    )
    {
        foreach (var tag in _rules.Count == 0 ? [] : tags)
        {
            if (
                RuleFor(name, tag.Value) is { } rule
                && transaction.Scalar<string>(
                    "SELECT digest FROM tags WHERE repository = @repository AND name = @tag",
                    ("repository", repository),
                    ("tag", tag.Value)
                )
                    is { } current
                && current != digest?.ToString()
            )
            {
                return new OciError(
                    ErrorCodes.TagImmutable,
                    $"{name}:{tag} is immutable by {rule} and points at {current}; push under another tag"
                );
            }
        }

        return null;
    }

    /// <exception cref="OciException"><c>DENIED</c>, 409: the tag may not be deleted.</exception>
    public void RequireDeletable(RepositoryName name, string tag)
    {
        if (RuleFor(name, tag) is { } rule)
        {
            throw new OciException(
                ErrorCodes.TagImmutable,
                $"{name}:{tag} is immutable by {rule}, so it cannot be deleted, nor the manifest that it points at"
            );
        }
    }
}
