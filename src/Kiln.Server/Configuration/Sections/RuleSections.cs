using Kiln.Oci;

namespace Kiln.Server.Configuration.Sections;

/// <summary><c>retention</c>, <c>immutable-tags</c>, <c>quotas</c>: lists of rules about repositories.</summary>
internal static class RuleSections
{
    public static Field<ServerOptions>[] Fields { get; } =
    [
        new Field<ServerOptions, IReadOnlyList<RetentionRule>>(
            "retention",
            "Which tags are kept, and how long untagged manifests are; the first rule that is about one decides.",
            Kinds.ListOf(Retention, () => new RetentionRule { Repositories = [] }),
            o => o.Retention.Rules,
            (o, v) => o with { Retention = new RetentionOptions { Rules = v } }
        ),
        new Field<ServerOptions, IReadOnlyList<ImmutabilityRule>>(
            "immutable-tags",
            "Tags that are never moved or deleted once they are there.",
            Kinds.ListOf(Immutability, () => new ImmutabilityRule { Repositories = [] }),
            o => o.Immutability.Rules,
            (o, v) => o with { Immutability = new ImmutabilityOptions { Rules = v } }
        ),
        new Field<ServerOptions, IReadOnlyList<QuotaRule>>(
            "quotas",
            "What repositories may hold together.",
            Kinds.ListOf(Quota, () => new QuotaRule { Repositories = [] }),
            o => o.Quotas.Rules,
            (o, v) => o with { Quotas = new QuotaOptions { Rules = v } }
        ),
    ];

    private static Kind<IReadOnlyList<string>> TagPatterns =>
        Kinds.ListOf(
            Kinds.Checked(
                "PATTERN",
                text =>
                    Tag.TryParse(text.Replace('*', 'x'), out _)
                        ? null
                        : $"'{text}' is no pattern for tags, such as 1.* or *"
            )
        );

    private static OptionalKind<int> Number => new(Kinds.Whole(0, 1_000_000));

    private static OptionalKind<long> Size => new(Kinds.Size(0, 1L << 60));

    private static OptionalKind<TimeSpan> Time => new(Kinds.Duration(TimeSpan.Zero, TimeSpan.FromDays(36_500)));

    private static Shape<RetentionRule> Retention =>
        new(
            "a retention rule",
            Repositories<RetentionRule>(o => o.Repositories, (o, v) => o with { Repositories = v }),
            Tags<RetentionRule>("tags", "The tags that the rule is about.", o => o.Tags, (o, v) => o with { Tags = v }),
            new Field<RetentionRule, int?>(
                "keep-newest",
                "Of the tags that the rule is about, so many are kept in each repository, those that were moved last.",
                Number,
                o => o.KeepNewest,
                (o, v) => o with { KeepNewest = v }
            ),
            new Field<RetentionRule, TimeSpan?>(
                "keep-younger",
                "Tags that were moved within this time are kept.",
                Time,
                o => o.KeepYounger,
                (o, v) => o with { KeepYounger = v }
            ),
            Tags<RetentionRule>(
                "keep-tags",
                "Tags that are kept whatever their age.",
                o => o.KeepTags,
                (o, v) => o with { KeepTags = v }
            ),
            new Field<RetentionRule, TimeSpan?>(
                "delete-untagged-after",
                "Manifests that nothing keeps are deleted after this time.",
                Time,
                o => o.DeleteUntaggedAfter,
                (o, v) => o with { DeleteUntaggedAfter = v }
            ),
            new Field<RetentionRule, int?>(
                "keep-newest-untagged",
                "So many of them are kept in each repository, those that were pushed last.",
                Number,
                o => o.KeepNewestUntagged,
                (o, v) => o with { KeepNewestUntagged = v }
            )
        );

    private static Shape<ImmutabilityRule> Immutability =>
        new(
            "a rule of immutable-tags",
            Repositories<ImmutabilityRule>(o => o.Repositories, (o, v) => o with { Repositories = v }),
            Tags<ImmutabilityRule>("tags", "The tags.", o => o.Tags, (o, v) => o with { Tags = v })
        );

    private static Shape<QuotaRule> Quota =>
        new(
            "a quota",
            Repositories<QuotaRule>(o => o.Repositories, (o, v) => o with { Repositories = v }),
            new Field<QuotaRule, long?>(
                "max-bytes",
                "Bytes of manifests and of what they refer to, each blob counted once.",
                Size,
                o => o.MaxBytes,
                (o, v) => o with { MaxBytes = v }
            ),
            new Field<QuotaRule, int?>(
                "max-tags",
                "Tags.",
                Number,
                o => (int?)o.MaxTags,
                (o, v) => o with { MaxTags = v }
            ),
            new Field<QuotaRule, int?>(
                "max-repositories",
                "Repositories with at least one manifest.",
                Number,
                o => (int?)o.MaxRepositories,
                (o, v) => o with { MaxRepositories = v }
            )
        )
        {
            Check = quota =>
                (quota.MaxBytes ?? quota.MaxTags ?? quota.MaxRepositories) is null
                    ? "limits nothing; give it max-bytes, max-tags or max-repositories"
                    : null,
        };

    private static Field<T, IReadOnlyList<string>> Repositories<T>(
        Func<T, IReadOnlyList<string>> get,
        Func<T, IReadOnlyList<string>, T> set
    ) =>
        new("repositories", "Patterns such as ci/** or **.", Kinds.ListOf(Kinds.Repositories), get, set)
        {
            IsRequired = true,
        };

    private static Field<T, IReadOnlyList<string>> Tags<T>(
        string key,
        string description,
        Func<T, IReadOnlyList<string>> get,
        Func<T, IReadOnlyList<string>, T> set
    ) => new(key, description + " * stands for any characters.", TagPatterns, get, set);
}
