namespace Kiln.Client.Transport;

/// <summary>One challenge of a <c>WWW-Authenticate</c> header (RFC 9110, 11.6.1).</summary>
internal sealed record AuthChallenge(string Scheme, IReadOnlyDictionary<string, string> Parameters)
{
    public bool IsBearer => Scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase);
    public bool IsBasic => Scheme.Equals("Basic", StringComparison.OrdinalIgnoreCase);

    public string? this[string name] => Parameters.GetValueOrDefault(name);

    /// <summary>The challenge to answer: Bearer before Basic; null where neither is offered.</summary>
    public static AuthChallenge? Best(IEnumerable<string> headers)
    {
        var all = headers.SelectMany(Parse).ToList();
        return all.Find(c => c.IsBearer && c["realm"] is not null) ?? all.Find(c => c.IsBasic);
    }

    /// <summary>Reads the challenges of one header line. What does not follow the grammar ends the reading.</summary>
    public static IEnumerable<AuthChallenge> Parse(string header)
    {
        var at = 0;
        while (true)
        {
            Skip(header, ref at, " ,\t");
            var scheme = Token(header, ref at);
            if (scheme.Length == 0)
            {
                yield break;
            }

            yield return new AuthChallenge(scheme, Arguments(header, ref at));
        }
    }

    private static Dictionary<string, string> Arguments(string header, ref int at)
    {
        var parameters = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        while (true)
        {
            var start = at;
            Skip(header, ref at, " ,\t");
            var name = Token(header, ref at);
            Skip(header, ref at, " \t");
            if (name.Length == 0 || at >= header.Length || header[at] != '=')
            {
                // Not a parameter: the next challenge's scheme.
                at = start;
                return parameters;
            }

            at++;
            Skip(header, ref at, " \t");
            parameters[name] = at < header.Length && header[at] == '"' ? Quoted(header, ref at) : Token(header, ref at);
        }
    }

    private static string Quoted(string header, ref int at)
    {
        var text = new System.Text.StringBuilder();
        for (at++; at < header.Length && header[at] != '"'; at++)
        {
            if (header[at] == '\\' && at + 1 < header.Length)
            {
                at++;
            }

            text.Append(header[at]);
        }

        at++;
        return text.ToString();
    }

    private static string Token(string header, ref int at)
    {
        var start = at;
        while (at < header.Length && header[at] is not (' ' or '\t' or ',' or '=' or '"'))
        {
            at++;
        }

        return header[start..at];
    }

    private static void Skip(string header, ref int at, string what)
    {
        while (at < header.Length && what.Contains(header[at], StringComparison.Ordinal))
        {
            at++;
        }
    }
}
