using System.Text.Json.Serialization;
using Kiln.Oci;
using Kiln.Server.Access.Policies;

namespace Kiln.Server.Access.Tokens;

/// <summary>
/// What a bearer token is for, as the token specification of the distribution project writes it:
/// <c>repository:a/b:pull,push</c>, <c>registry:catalog:*</c>.
/// </summary>
internal sealed record TokenScope(
    [property: JsonPropertyName("type")] string Type,
    [property: JsonPropertyName("name")] string Name,
    [property: JsonPropertyName("actions")] IReadOnlyList<string> Actions
)
{
    public const string Repository = "repository";
    public const string Registry = "registry";
    public const string Every = "*";

    /// <summary>Listing repositories.</summary>
    public static readonly TokenScope Catalog = new(Registry, "catalog", [Every]);

    /// <summary>Managing the registry.</summary>
    public static readonly TokenScope Admin = new(Registry, "admin", [Every]);

    /// <summary>Taking leases, as a build node does.</summary>
    public static readonly TokenScope Lease = new(Registry, "build", ["lease"]);

    /// <summary>The most that one token may be for.</summary>
    private const int MaxScopes = 64;

    public override string ToString() => $"{Type}:{Name}:{string.Join(',', Actions)}";

    /// <summary>Reads the scopes of a request: several parameters, each with any number separated by spaces.</summary>
    /// <exception cref="OciException"><c>UNSUPPORTED</c>, 400.</exception>
    public static IReadOnlyList<TokenScope> Parse(IEnumerable<string?> parameters)
    {
        var texts = parameters
            .SelectMany(p => (p ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Take(MaxScopes + 1)
            .ToList();
        return texts.Count > MaxScopes
            ? throw Invalid($"a token is for {MaxScopes} scopes at most")
            : texts.ConvertAll(Parse);
    }

    /// <summary>What some scopes allow in a repository.</summary>
    public static Rights RightsIn(IReadOnlyList<TokenScope> scopes, string repository)
    {
        var rights = Rights.None;
        foreach (var scope in scopes)
        {
            if (scope.Type == Repository && scope.Name == repository)
            {
                rights |= scope.ToRights();
            }
        }

        return rights;
    }

    /// <summary>The actions as rights; those that are not known here count for nothing.</summary>
    public Rights ToRights() =>
        Actions.Aggregate(
            Rights.None,
            (all, action) => all | (action == Every ? Rights.All : RightNames.Parse(action)?.Complete() ?? Rights.None)
        );

    private static TokenScope Parse(string text)
    {
        // A name may have colons (host:port), so the type ends at the first one and the actions begin after the last.
        var (first, last) = (text.IndexOf(':', StringComparison.Ordinal), text.LastIndexOf(':'));
        if (first <= 0 || last == first || text.Length > 1024)
        {
            throw Invalid("a scope is written type:name:actions, for example repository:a/b:pull,push");
        }

        // "repository(plugin)": the class of what is in it does not matter here.
        var type = text[..first];
        var bracket = type.IndexOf('(', StringComparison.Ordinal);
        return new TokenScope(
            bracket < 0 ? type : type[..bracket],
            text[(first + 1)..last],
            text[(last + 1)..].Split(',', StringSplitOptions.RemoveEmptyEntries)
        );
    }

    private static OciException Invalid(string message) => new(new ErrorCode("UNSUPPORTED", 400), message);
}
