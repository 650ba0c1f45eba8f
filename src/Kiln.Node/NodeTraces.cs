using System.Diagnostics;

namespace Kiln.Node;

/// <summary>Where the traces of builds begin.</summary>
public static class NodeTraces
{
    public const string Name = "Kiln.Node";

    internal static ActivitySource Source { get; } = new(Name);
}
