using System.Text.RegularExpressions;
using Kiln.Server.Access.Policies;
using Kiln.Server.Configuration;

namespace Kiln.Server.Access.Logins;

/// <summary>Users and their bcrypt hashes, as <c>htpasswd -B</c> writes them. Immutable.</summary>
internal sealed partial class Htpasswd
{
    public static readonly Htpasswd None = new(new Dictionary<string, string>(StringComparer.Ordinal));

    private const int MaxCost = 16;

    private readonly Dictionary<string, string> _hashes;
    private readonly string[] _all;

    private Htpasswd(Dictionary<string, string> hashes)
    {
        _hashes = hashes;
        _all = [.. hashes.Values];
    }

    public IEnumerable<string> Users => _hashes.Keys;

    /// <summary>The hash of a user; null where there is no such user.</summary>
    public string? Find(string user) => _hashes.GetValueOrDefault(user);

    /// <summary>
    /// The hash to check a password against for a user that is not there, so that the answer takes as long as it does for
    /// one that is: always the same existing one for the same name, since costs may differ.
    /// </summary>
    public string? Decoy(uint choice) => _all.Length == 0 ? null : _all[choice % (uint)_all.Length];

    /// <summary>Reads a file's text: a line <c>user:hash</c> for each user; empty lines and <c>#</c> are skipped.</summary>
    public static Htpasswd Parse(string text, string file, List<FileFault> faults)
    {
        var hashes = new Dictionary<string, string>(StringComparer.Ordinal);
        var number = 0;
        foreach (var line in text.Split('\n').Select(l => l.Trim()))
        {
            number++;
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon <= 0)
            {
                // Not the line itself: it may be a password.
                faults.Add(new(file, number, "is no line of the form user:hash"));
                continue;
            }

            var (user, hash) = (line[..colon], line[(colon + 1)..]);
            if (!Bcrypt().IsMatch(hash) || int.Parse(hash.AsSpan(4, 2)) > MaxCost)
            {
                faults.Add(
                    new(
                        file,
                        number,
                        $"the password of '{user}' is not hashed with bcrypt of cost 4 to {MaxCost}; set it again with: htpasswd -B {Path.GetFileName(file)} {user}"
                    )
                );
            }
            else if (!hashes.TryAdd(user, hash))
            {
                faults.Add(new(file, number, $"the user '{user}' is there twice"));
            }
        }

        return new Htpasswd(hashes);
    }

    [GeneratedRegex(@"\A\$2[aby]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Bcrypt();
}
