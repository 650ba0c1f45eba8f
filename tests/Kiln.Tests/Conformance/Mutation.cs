using System.Text.RegularExpressions;

namespace Kiln.Tests.Conformance;

/// <summary>One requirement, broken on the way.</summary>
/// <param name="Name">What is broken.</param>
/// <param name="Red">The checks that have to fail, and no others.</param>
/// <param name="Methods">Of which requests; empty for all.</param>
/// <param name="Path">A regular expression for their paths.</param>
/// <param name="Break">Breaks it.</param>
internal sealed record Mutation(string Name, string Red, string Methods, string Path, Action<Exchange> Break)
{
    /// <summary>The request is changed on its way there, not the answer on its way back.</summary>
    public bool OnRequest { get; init; }

    /// <summary>It shows by something that does not happen, for which is waited: its checks alone are made, and not for long.</summary>
    public bool Waits { get; init; }

    /// <summary>What else is done to the answer, where the request was changed.</summary>
    public Action<Exchange>? Then { get; init; }

    public IReadOnlyList<string> Checks => Red.Split(' ');

    public void Change(Exchange exchange, bool answered)
    {
        if (
            (Methods.Length == 0 || Methods.Split(' ').Contains(exchange.Method, StringComparer.Ordinal))
            && Regex.IsMatch(exchange.Path, Path)
        )
        {
            (
                answered == OnRequest
                    ? OnRequest
                        ? Then
                        : null
                    : Break
            )?.Invoke(exchange);
        }
    }

    public override string ToString() => Name;
}
