using System.Globalization;
using Kiln.BuildSpec.Recipes;

namespace Kiln.Node.Machine;

/// <summary>Something that builds want of a machine and that is not there.</summary>
/// <param name="Missing">What it is.</param>
/// <param name="Effect">What does not work without.</param>
/// <param name="Remedy">What the site would do about it.</param>
/// <param name="Blocks">Whether nothing can be built without; else it is only less.</param>
public sealed record MachineNeed(string Missing, string Effect, string Remedy, bool Blocks);

/// <summary>Tells what a machine lacks.</summary>
internal static class MachineNeeds
{
    private const long WholeRange = 65536;

    /// <summary>What stops builds first.</summary>
    public static IReadOnlyList<MachineNeed> Of(MachineFacts facts, string user) =>
        [
            .. Namespaces(facts.Limits)
                .Concat(Ids(facts.Limits, user))
                .Concat(Lesser(facts.Limits))
                .Where(n => n.Broken)
                .Select(n => n.Need),
        ];

    /// <summary>What a machine that builds lacks to build and make all that there is.</summary>
    public static IReadOnlyList<MachineNeed> Of(NodeAbilities abilities) =>
        [
            .. abilities.NoDefinitions is { } definitions
                ? new[]
                {
                    new MachineNeed(
                        $"an Apptainer that builds: {definitions}",
                        "definitions of Apptainer and Singularity (.def) are not built",
                        "install apptainer, buildah, squashfs-tools and libcap's programs in /usr/bin, or name a root file system that has them with --apptainer-root",
                        Blocks: false
                    ),
                }
                : [],
            .. abilities.NoFiles is { } files
                ? new[]
                {
                    new MachineNeed(
                        $"a mksquashfs for all compressions: {files}",
                        "no SIF and squashfs files are made of images",
                        $"install {OutputFormats.Tool(OutputFormats.Sif)}",
                        Blocks: false
                    ),
                }
                : [],
        ];

    /// <summary>What a site could do so that something can be built; null where it is not known.</summary>
    public static string? Advice(MachineFacts facts, string user)
    {
        var needs = Of(facts, user);
        var blocking = needs.Where(n => n.Blocks).ToList();
        var richer = needs.Except(blocking).Where(n => Ids(facts.Limits, user).Any(i => i.Need == n)).ToList();
        var advice =
            $"there is no {string.Join(", and no ", blocking.Select(n => n.Missing))}. A site can enable that: {Remedies(blocking)}";
        return blocking.Count == 0 ? null
            : richer.Count == 0 ? advice
            : $"{advice}. Builds then have one user id; for images whose files keep their owners also: {Remedies(richer)}";
    }

    private static string Remedies(IEnumerable<MachineNeed> needs) => string.Join("; ", needs.Select(n => n.Remedy));

    private static (bool Broken, MachineNeed Need)[] Namespaces(KernelLimits limits) =>
        [
            (
                limits.MaxUserNamespaces is 0,
                new MachineNeed(
                    "user namespaces (user.max_user_namespaces is 0)",
                    "no build can be kept apart, and none is done",
                    "sysctl -w user.max_user_namespaces=15000, and a file in /etc/sysctl.d",
                    Blocks: true
                )
            ),
            (
                !limits.UnprivilegedUserNamespaces,
                new MachineNeed(
                    "user namespaces for ordinary accounts (kernel.unprivileged_userns_clone is 0)",
                    "no build can be kept apart, and none is done",
                    "sysctl -w kernel.unprivileged_userns_clone=1, and a file in /etc/sysctl.d",
                    Blocks: true
                )
            ),
            (
                limits.AppArmorRestricts,
                new MachineNeed(
                    "rights in user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
                    "a program without an AppArmor profile that allows 'userns' cannot set a build up",
                    "give the kiln program a profile with 'userns,', or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
                    Blocks: true
                )
            ),
        ];

    private static (bool Broken, MachineNeed Need)[] Ids(KernelLimits limits, string user) =>
        [
            (
                limits.SubordinateUids < WholeRange || limits.SubordinateGids < WholeRange,
                new MachineNeed(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"subordinate ids of {user} ({limits.SubordinateUids} user ids and {limits.SubordinateGids} group ids; {WholeRange} are needed)"
                    ),
                    Instead(limits),
                    $"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
                    Blocks: !limits.Seccomp
                )
            ),
            (
                !limits.IdMapTools,
                new MachineNeed(
                    "newuidmap and newgidmap",
                    Instead(limits),
                    "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora, RHEL)",
                    Blocks: !limits.Seccomp
                )
            ),
        ];

    private static string Instead(KernelLimits limits) =>
        limits.Seccomp
            ? "builds have one id (seccomp): files of their images have no owners but root, and no set-id bits"
            : "files of an image cannot have their owners, and the kernel has no seccomp filters to pretend that they do";

    private static (bool Broken, MachineNeed Need)[] Lesser(KernelLimits limits) =>
        [
            (
                !limits.OverlayInUserNamespaces,
                new MachineNeed(
                    "overlay file systems in user namespaces",
                    "buildah may not be able to stack an image's layers, unless the distribution has brought it back to this kernel",
                    "modprobe overlay, or Linux 5.11 or later",
                    Blocks: false
                )
            ),
            (
                !limits.UnifiedControlGroups,
                new MachineNeed(
                    "control groups of version 2",
                    "limits of memory and processes are watched, not enforced by the kernel",
                    "boot with systemd.unified_cgroup_hierarchy=1",
                    Blocks: false
                )
            ),
        ];
}
