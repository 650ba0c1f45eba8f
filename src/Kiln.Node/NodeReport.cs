using System.Text.RegularExpressions;
using Kiln.BuildSpec;
using Kiln.Node.Launchers;
using Kiln.Node.Machine;
using Kiln.Node.Sandbox;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Node;

/// <summary>What a machine is, what it could build, and what it lacks.</summary>
public sealed partial record NodeReport
{
    public required MachineFacts Machine { get; init; }

    /// <summary>Programs that build or help to, with their versions, as in <c>buildah 1.28.2</c>.</summary>
    public required IReadOnlyList<string> Programs { get; init; }

    /// <summary>What it would offer a registry; null where it can build nothing.</summary>
    public LeaseClaim? Offer { get; init; }

    /// <summary>Why nothing can be built; null where something can.</summary>
    public string? Unavailable { get; init; }

    /// <summary>What a site would change, what stops builds first.</summary>
    public required IReadOnlyList<MachineNeed> Missing { get; init; }

    // Of each the word that makes it say its version.
    private static readonly IReadOnlyList<(string Program, string Argument)> Known =
    [
        ("buildah", "--version"),
        ("podman", "--version"),
        ("apptainer", "--version"),
        ("crun", "--version"),
        ("runc", "--version"),
        ("fuse-overlayfs", "--version"),
        ("slirp4netns", "--version"),
        ("pasta", "--version"),
        ("mksquashfs", "-version"),
    ];

    /// <summary>Looks at this machine, and tries out whether a build could be kept apart here. Takes some tenths of a second.</summary>
    /// <param name="options">As the node would be started; its directory is made and filled.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancel">Ends it.</param>
    public static async Task<NodeReport> MakeAsync(NodeOptions options, TimeProvider time, CancellationToken cancel)
    {
        var account = UserNamespace.Account();
        var facts = MachineProbe.Read(MachineRoot.This, MachineProbe.HostArchitecture, account.Name, account.Uid);
        using var launcher = new LocalLauncher(options, time, NullLogger.Instance);
        var abilities = await launcher.PrepareAsync(cancel);
        var programs = new List<string>();
        foreach (var (program, argument) in Known)
        {
            if (await VersionAsync(program, argument, cancel) is { } version)
            {
                programs.Add($"{program} {version}");
            }
        }

        return new NodeReport
        {
            Machine = facts,
            // What was found elsewhere, by --apptainer-root, builds as well.
            Programs = [.. programs.Union(abilities.Engines, StringComparer.Ordinal)],
            Offer = abilities.Unavailable is null ? BuildNode.ClaimOf(options, abilities) : null,
            Unavailable = abilities.Unavailable,
            Missing = [.. MachineNeeds.Of(facts, account.Name), .. MachineNeeds.Of(abilities)],
        };
    }

    private static async Task<string?> VersionAsync(string program, string argument, CancellationToken cancel)
    {
        if (Sandbox.Programs.Find(program) is null)
        {
            return null;
        }

        var (_, output) = await Sandbox.Programs.RunAsync(program, [argument], cancel);
        return VersionText().Match(output) is { Success: true } match ? match.Value : "of an unknown version";
    }

    [GeneratedRegex(@"\d+\.\d+(\.\d+)?", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex VersionText();
}
