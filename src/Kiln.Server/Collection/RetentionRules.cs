using System.Globalization;
using Kiln.Oci;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>A tag as rules look at it.</summary>
/// <param name="Updated">When it was last moved.</param>
internal sealed record RetainedTag(string Name, DateTimeOffset Updated);

/// <summary>What a rule says of a tag.</summary>
/// <param name="Reason">The rule and the condition that decide, as a sentence.</param>
internal sealed record TagVerdict(RetainedTag Tag, bool Keep, string Reason);

/// <summary>What becomes of manifests that nothing keeps in a repository.</summary>
/// <param name="After">How long they stay; null is for ever.</param>
/// <param name="KeepNewest">So many stay in any case.</param>
/// <param name="Source">Where that is said.</param>
internal sealed record UntaggedRule(TimeSpan? After, int KeepNewest, string Source)
{
    public override string ToString() =>
        After is { } after ? $"{Source} gives it {Durations.Say(after)}" : $"{Source} keeps it for ever";
}

/// <summary>The operator's rules of retention, checked.</summary>
internal sealed class RetentionRules
{
    private readonly List<(string Source, RetentionRule Rule, NamePatterns Names, NamePatterns Kept)> _rules = [];

    private RetentionRules() { }

    /// <summary>Whether any rule may delete a tag.</summary>
    public bool DeletesTags => _rules.Exists(r => Decides(r.Rule));

    /// <summary>Reads rules; what is wrong with them is added to <paramref name="faults"/>.</summary>
    public static RetentionRules Parse(RetentionOptions options, List<string> faults)
    {
        var rules = new RetentionRules();
        for (var i = 0; i < options.Rules.Count; i++)
        {
            var rule = options.Rules[i];
            var source = string.Create(CultureInfo.InvariantCulture, $"retention rule {i + 1}");
            foreach (
                var (name, number) in new[]
                {
                    ("keep-newest", rule.KeepNewest),
                    ("keep-newest-untagged", rule.KeepNewestUntagged),
                }
            )
            {
                if (number < 0)
                {
                    faults.Add($"{source}: {name} is {number}; it must be 0 or more");
                }
            }

            foreach (
                var (name, time) in new[]
                {
                    ("keep-younger", rule.KeepYounger),
                    ("delete-untagged-after", rule.DeleteUntaggedAfter),
                }
            )
            {
                if (time < TimeSpan.Zero)
                {
                    faults.Add($"{source}: {name} must not be negative");
                }
            }

            var names = NamePatterns.Parse(source, rule.Repositories, rule.Tags, faults);
            // Only its tags count.
            var kept = NamePatterns.Parse(source, ["**"], rule.KeepTags, faults);
            rules._rules.Add((source, rule, names, kept));
        }

        return rules;
    }

    /// <summary>What becomes of untagged manifests in a repository.</summary>
    /// <param name="otherwise">How long they stay where no rule says it.</param>
    public UntaggedRule Untagged(RepositoryName repository, TimeSpan? otherwise)
    {
        foreach (var (source, rule, names, _) in _rules)
        {
            if ((rule.DeleteUntaggedAfter ?? (object?)rule.KeepNewestUntagged) is not null && names.Mean(repository))
            {
                return new UntaggedRule(
                    rule.DeleteUntaggedAfter ?? otherwise,
                    rule.KeepNewestUntagged ?? 0,
                    $"{source} ({names})"
                );
            }
        }

        return new UntaggedRule(otherwise, 0, "the default");
    }

    /// <summary>What the rules say of the tags of a repository; nothing of those that no rule is about.</summary>
    public IEnumerable<TagVerdict> Judge(RepositoryName repository, IReadOnlyList<RetainedTag> tags, DateTimeOffset now)
    {
        var left = tags.ToList();
        foreach (var (source, rule, names, kept) in _rules)
        {
            if (!names.Mean(repository))
            {
                continue;
            }

            // A tag is the first rule's that is about it; the newest are counted among those.
            var mine = left.FindAll(tag => names.Mean(tag.Name));
            left.RemoveAll(mine.Contains);
            if (!Decides(rule))
            {
                continue;
            }

            var place = 0;
            foreach (var tag in mine.OrderByDescending(t => t.Updated).ThenBy(t => t.Name, StringComparer.Ordinal))
            {
                place++;
                yield return Judge(rule, kept, $"{source} ({names})", tag, place, now);
            }
        }
    }

    private static bool Decides(RetentionRule rule) =>
        rule.KeepNewest is not null || rule.KeepYounger is not null || rule.KeepTags.Count > 0;

    private static TagVerdict Judge(
        RetentionRule rule,
        NamePatterns kept,
        string source,
        RetainedTag tag,
        int place,
        DateTimeOffset now
    )
    {
        var age = now - tag.Updated;
        var keeper =
            kept.Mean(tag.Name) ? "keeps tags of this name"
            : place <= rule.KeepNewest ? $"keeps the newest {rule.KeepNewest}, and this is number {place}"
            : rule.KeepYounger is { } younger && age < younger ? $"keeps what is younger than {Durations.Say(younger)}"
            : null;
        if (keeper is not null)
        {
            return new TagVerdict(tag, Keep: true, $"{source} {keeper}");
        }

        var conditions = new List<string>();
        if (rule.KeepNewest is { } newest)
        {
            conditions.Add($"number {place} is not among the newest {newest}");
        }

        if (rule.KeepYounger is { } limit)
        {
            conditions.Add($"moved at {tag.Updated:u}, it is not younger than {Durations.Say(limit)}");
        }

        if (rule.KeepTags.Count > 0)
        {
            conditions.Add($"its name is not {string.Join(" or ", rule.KeepTags)}");
        }

        return new TagVerdict(tag, Keep: false, $"{source}: {string.Join(", ", conditions)}");
    }
}
