using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Server.Builds.Hooks;

/// <summary>What a hook that somebody wants to register may say.</summary>
internal static class HookRules
{
    private const int MaxUrlLength = 2048;
    private const int MaxEntries = 64;

    // Of a name in DNS.
    private const int MaxHostLength = 253;

    /// <summary>The hook's address.</summary>
    /// <exception cref="OciException"><c>BUILD_HOOK_INVALID</c>: what is wrong with the hook.</exception>
    public static Uri Require(Hook hook)
    {
        var fault =
            hook.Url.Length > MaxUrlLength
            || !Uri.TryCreate(hook.Url, UriKind.Absolute, out var url)
            || (url.Scheme != Uri.UriSchemeHttps && url.Scheme != Uri.UriSchemeHttp)
                ? $"url is an absolute https address of {MaxUrlLength} characters at most"
            : url.IdnHost.Length is 0 or > MaxHostLength ? $"the host of url has {MaxHostLength} characters at most"
            : url.UserInfo.Length > 0 || url.Fragment.Length > 0
                ? "url has no user name and no fragment; the signature says who sends"
            : hook.Events is { } events
            && (events.Count == 0 || events.Any(e => !HookEvents.All.Contains(e, StringComparer.Ordinal)))
                ? $"events is a list of {string.Join(", ", HookEvents.All)}"
            : IsWrong(hook.Filter?.Platforms) || hook.Filter?.Platforms?.Any(p => !Platform.TryParse(p, out _)) is true
                ? "filter.platforms is a list of os/architecture[/variant]"
            : IsWrong(hook.Filter?.Recipes) ? "filter.recipes is a list of names of kinds of recipes"
            : null;
        return fault is null ? new Uri(hook.Url) : throw Invalid(fault);
    }

    public static OciException Invalid(string fault) =>
        new(BuildErrors.HookInvalid, $"the hook cannot be taken: {fault}");

    private static bool IsWrong(IReadOnlyList<string>? list) =>
        list is not null && (list.Count is 0 or > MaxEntries || list.Any(e => e is null or { Length: 0 or > 64 }));
}
