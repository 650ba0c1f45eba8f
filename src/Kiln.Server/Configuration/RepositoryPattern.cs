using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;
using Kiln.Oci;

namespace Kiln.Server.Configuration;

/// <summary>
/// Which repositories: a name in which <c>*</c> stands for any characters of one component, <c>**</c> for any number of
/// components (at the end for one at least), and <c>{user}</c> for the name of whoever asks.
/// </summary>
internal sealed partial class RepositoryPattern
{
    private const string Rest = "**";
    private const string UserVariable = "{user}";

    /// <summary>Every repository there is or will be.</summary>
    public static readonly RepositoryPattern Everything = new(Rest);

    private readonly string[] _head;
    private readonly string[]? _tail;

    // The usual case, "a/b/**", without any other wildcard: names are compared with this prefix.
    private readonly string? _prefix;

    private RepositoryPattern(string text)
    {
        Text = text;
        IsPersonal = text.Contains(UserVariable, StringComparison.Ordinal);
        var parts = text.Split('/');
        var rest = Array.IndexOf(parts, Rest);
        _head = rest < 0 ? parts : parts[..rest];
        _tail = rest < 0 ? null : parts[(rest + 1)..];
        var plain = !string.Concat(_head).Contains('*', StringComparison.Ordinal);
        _prefix = _tail is [] && plain ? string.Concat(_head.Select(p => p + "/")) : null;
    }

    public string Text { get; }

    /// <summary>Whether it means every repository there is or will be.</summary>
    public bool IsEverything => Text == Rest;

    /// <summary>Whether it depends on who asks.</summary>
    public bool IsPersonal { get; }

    public override string ToString() => Text;

    /// <summary>Reads a pattern.</summary>
    /// <param name="fault">What is wrong with it, as the end of a sentence; null where it is right.</param>
    public static bool TryParse(
        string text,
        [NotNullWhen(true)] out RepositoryPattern? pattern,
        [NotNullWhen(false)] out string? fault
    )
    {
        pattern = null;
        fault =
            text.Length is 0 or > RepositoryName.MaxLength ? $"must have 1 to {RepositoryName.MaxLength} characters"
            : !Grammar().IsMatch(text)
                ? "must be a repository name in lower case, in which * stands for part of a component, ** for any components and {user} for the caller's name"
            : text.Split('/').Count(p => p == Rest) > 1 ? "may have ** once only"
            : null;
        if (fault is not null)
        {
            return false;
        }

        pattern = new RepositoryPattern(text);
        return true;
    }

    /// <summary>Whether a repository is meant.</summary>
    /// <param name="user">What <c>{user}</c> stands for; where that can be no component of a name, nothing is meant.</param>
    public bool Matches(string repository, string? user)
    {
        if (IsPersonal)
        {
            return user is not null
                && !user.Contains('/', StringComparison.Ordinal)
                && RepositoryName.TryParse(user, out _)
                && new RepositoryPattern(Text.Replace(UserVariable, user, StringComparison.Ordinal)).Matches(
                    repository,
                    user: null
                );
        }

        if (_prefix is not null)
        {
            return repository.Length > _prefix.Length && repository.StartsWith(_prefix, StringComparison.Ordinal);
        }

        var parts = repository.Split('/');
        if (_tail is null)
        {
            return parts.Length == _head.Length && Matches(parts, _head, 0);
        }

        var least = _head.Length + _tail.Length + (_tail.Length == 0 ? 1 : 0);
        return parts.Length >= least && Matches(parts, _head, 0) && Matches(parts, _tail, parts.Length - _tail.Length);
    }

    /// <summary>Whether a text is matched by one in which <c>*</c> stands for any characters.</summary>
    public static bool Glob(ReadOnlySpan<char> text, ReadOnlySpan<char> pattern) => Oci.Glob.Matches(text, pattern);

    private static bool Matches(string[] parts, string[] patterns, int from)
    {
        for (var i = 0; i < patterns.Length; i++)
        {
            if (!Glob(parts[from + i], patterns[i]))
            {
                return false;
            }
        }

        return true;
    }

    [GeneratedRegex(
        @"\A(\*\*|([a-z0-9._*-]|\{user\})+)(/(\*\*|([a-z0-9._*-]|\{user\})+))*\z",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Grammar();
}
