using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli;

/// <summary>Reads what people type for images, repositories and jobs.</summary>
internal static class References
{
    /// <summary>Names the registry for references that name none.</summary>
    public const string DefaultRegistry = "KILN_REGISTRY";

    /// <summary>An image; without a host the one of <c>$KILN_REGISTRY</c> is meant.</summary>
    public static Reference Image(string text, Shell shell)
    {
        var host = shell.Variable(DefaultRegistry);
        var named = HasHost(text) || string.IsNullOrEmpty(host) ? text : $"{host.TrimEnd('/')}/{text}";
        return Reference.TryParse(named, out var reference)
            ? reference
            : throw CommandFailure.Usage(
                $"'{text}' is not an image reference; write HOST/NAME[:TAG], with NAME in lower case"
            );
    }

    /// <summary>An image on a registry that is to build it: the host has to be there.</summary>
    public static Reference Target(string text, Shell shell) =>
        !HasHost(text) && string.IsNullOrEmpty(shell.Variable(DefaultRegistry))
            ? throw CommandFailure.Usage(
                $"'{text}' names no registry; write HOST/NAME:TAG (for example 127.0.0.1:5000/{text}), or set {DefaultRegistry}"
            )
            : Image(text, shell);

    public static RemoteRepository Repository(string text, Shell shell)
    {
        var reference = Target(text, shell);
        return reference is { Tag: null, Digest: null }
            ? RemoteRepository.Of(reference)
            : throw CommandFailure.Usage($"'{text}' has a tag or digest; write the repository only: HOST/NAME");
    }

    /// <summary>A job: <c>HOST/NAME ID</c>, or the URL that a registry printed.</summary>
    public static JobAddress Job(string repository, string? id, Shell shell) =>
        id is null && JobAddress.TryParseUrl(repository, out var address) ? address
        : id is not null && BuildSpec.Ids.IsWellFormed(id) ? new JobAddress(Repository(repository, shell), id)
        : throw CommandFailure.Usage(
            id is null && BuildSpec.Ids.IsWellFormed(repository)
                ? $"'{repository}' does not say whose job it is; write HOST/NAME {repository}, or give its URL"
                : "name the job as HOST/NAME ID, or give its URL"
        );

    private static bool HasHost(string text)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        return slash > 0 && (text[..slash] == "localhost" || text.AsSpan(0, slash).ContainsAny(".:"));
    }
}
