using Kiln.BuildSpec.Architectures;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>Tells names of micro-architectures from what is misspelt.</summary>
internal static class MicroarchitectureName
{
    private static readonly string[] Known =
    [
        .. Microarchitectures.Names,
        "x86_64",
        "x86_64_v1",
        "x86_64_v2",
        "x86_64_v3",
        "x86_64_v4",
        "aarch64",
    ];

    /// <summary>Refuses a name that archspec does not have, and nobody here uses.</summary>
    /// <param name="name">As it was typed.</param>
    /// <param name="used">Names that are good whatever archspec says: a node or an image has them.</param>
    public static void Require(string name, IEnumerable<string> used)
    {
        if (Known.Contains(name, StringComparer.Ordinal) || used.Contains(name, StringComparer.Ordinal))
        {
            return;
        }

        var advice = ConfigurationValues.Nearest(name, Known) is { } near
            ? $"did you mean '{near}'?"
            : "write it as archspec does, for example zen3 or x86_64_v3; kiln node --probe says what a machine is";
        throw CommandFailure.Usage($"'{name}' is no micro-architecture that is known; {advice}");
    }
}
