using Kiln.Conformance.Discover;
using Kiln.Conformance.Hooks;
using Kiln.Conformance.Node;
using Kiln.Conformance.PullBuild;
using Kiln.Conformance.Request;
using Kiln.Conformance.Store;
using Kiln.Conformance.Trigger;

namespace Kiln.Conformance;

/// <summary>Every check there is, in the order in which they run.</summary>
public static class CheckTable
{
    /// <summary>The same, in the groups that belong together.</summary>
    internal static IReadOnlyList<IReadOnlyList<Check>> Groups { get; } =
    [
        PushChecks.All,
        PullChecks.All,
        ManifestChecks.All,
        ListChecks.All,
        DeleteChecks.All,
        DiscoverChecks.All,
        RequestChecks.All,
        RefusalChecks.All,
        RecipeChecks.All,
        JobChecks.All,
        CancelChecks.All,
        LogChecks.All,
        SharingChecks.All,
        SecretChecks.All,
        ProductChecks.All,
        ProvenanceChecks.All,
        TriggerChecks.All,
        NodeChecks.All,
        LeaseChecks.All,
        HookChecks.All,
        HookEventChecks.All,
        PullBuildChecks.All,
    ];

    public static IReadOnlyList<Check> All { get; } = [.. Groups.SelectMany(group => group)];
}
