using System.Globalization;

namespace Kiln.BuildSpec;

/// <summary>What flattening an image has changed (build-extension, F-6); numbers of entries of its layers.</summary>
public sealed record FlattenReport
{
    /// <summary>Paths in <see cref="SetIdFiles"/>.</summary>
    public const int MaxPaths = 50;

    /// <summary>Entries that were changed in one way or more.</summary>
    public long Entries { get; init; }

    /// <summary>That had another owner or group than 0.</summary>
    public long Owners { get; init; }

    /// <summary>That lost set-user-id or set-group-id bits.</summary>
    public long SetIds { get; init; }

    /// <summary>That lost file capabilities.</summary>
    public long Capabilities { get; init; }

    /// <summary>That lost access control lists.</summary>
    public long AccessLists { get; init; }

    /// <summary>That their owner could not read.</summary>
    public long Modes { get; init; }

    /// <summary>Device nodes, which were left out.</summary>
    public long Devices { get; init; }

    /// <summary>Layers that are others now, and layers that had nothing to change.</summary>
    public int LayersChanged { get; init; }

    /// <inheritdoc cref="LayersChanged"/>
    public int LayersKept { get; init; }

    /// <summary>The files that lost set-id bits, the first <see cref="MaxPaths"/> of them.</summary>
    public IReadOnlyList<string> SetIdFiles { get; init; } = [];

    /// <summary>The numbers as an annotation has them.</summary>
    public string Summary() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"entries={Entries};owners={Owners};setid={SetIds};caps={Capabilities};acls={AccessLists};modes={Modes};devices={Devices}"
        );
}
