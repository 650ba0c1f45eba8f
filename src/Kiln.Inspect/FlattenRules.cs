using System.Collections.Frozen;

namespace Kiln.Inspect;

/// <summary>Something about a file that flattening would lose.</summary>
internal readonly record struct FlattenFinding(string Text, bool AboutOwnership, bool AboutMode);

/// <summary>
/// What asks for caution. A distribution's own entries, which every image has and which are known to do no harm when
/// flattened, are left out: a verdict that warns of everything says nothing.
/// </summary>
internal static class FlattenRules
{
    private const int SetUser = 0x800;
    private const int SetGroup = 0x400;

    // Subordinate id ranges end there by default; a larger id cannot be unpacked without root.
    private const int LargestOrdinaryId = 65_535;

    // Programs that Debian, Ubuntu, Fedora, SUSE and Alpine ship with a set-id bit or a capability.
    private static readonly FrozenSet<string> KnownPrograms = new[]
    {
        "arping",
        "at",
        "bbsuid",
        "chage",
        "chfn",
        "chsh",
        "crontab",
        "dbus-daemon-launch-helper",
        "doas",
        "dotlockfile",
        "expiry",
        "fusermount",
        "fusermount3",
        "gpasswd",
        "grub2-set-bootflag",
        "mount",
        "mount.nfs",
        "newgidmap",
        "newgrp",
        "newuidmap",
        "pam_extrausers_chkpwd",
        "pam_timestamp_check",
        "passwd",
        "ping",
        "ping6",
        "pkexec",
        "polkit-agent-helper-1",
        "ssh-agent",
        "ssh-keysign",
        "su",
        "sudo",
        "umount",
        "unix2_chkpwd",
        "unix_chkpwd",
        "userhelper",
        "utempter",
        "wall",
        "write",
        "write.ul",
    }.ToFrozenSet(StringComparer.Ordinal);

    private static readonly string[] ProgramDirectories =
    [
        "bin/",
        "sbin/",
        "usr/bin/",
        "usr/sbin/",
        "usr/lib/",
        "usr/libexec/",
        "lib/",
    ];

    // Places of a distribution that belong to a system group or user and hold nothing that an application needs.
    private static readonly FrozenSet<string> KnownPlaces = new[]
    {
        "etc/gshadow",
        "etc/gshadow-",
        "etc/shadow",
        "etc/shadow-",
        "etc/ssl/private",
        "run/lock",
        "usr/local",
        "var/cache/apt/archives/partial",
        "var/cache/ldconfig",
        "var/cache/man",
        "var/lib/apt/lists/auxfiles",
        "var/lib/apt/lists/partial",
        "var/local",
        "var/log/apt/term.log",
        "var/log/btmp",
        "var/log/journal",
        "var/log/lastlog",
        "var/log/wtmp",
        "var/mail",
        "var/spool/cron/crontabs",
        "var/spool/mail",
        "var/spool/rsyslog",
        "var/spool/postfix",
    }.ToFrozenSet(StringComparer.Ordinal);

    // Whatever runs a container has devices of its own there.
    private const string Devices = "dev/";

    // Pages of manuals, by language.
    private const string Manuals = "var/cache/man/";

    // Those of daemons; people's begin at 1000 (login.defs(5), SYS_UID_MAX).
    private const int LargestSystemId = 999;

    // Debian gives /usr/local and what is in it to root:staff with the set-group-id bit.
    private const string DebianLocal = "usr/local/";
    private const int StaffGroup = 50;

    public static bool IsSetId(LayerEntry entry) => (entry.Mode & (SetUser | SetGroup)) != 0;

    /// <param name="several">Whether the image has more than one owner or group.</param>
    public static IEnumerable<FlattenFinding> Judge(LayerEntry entry, bool several)
    {
        var path = TarWalk.Shorten(entry.Path);
        var foreign = entry.Owner != 0 || entry.Group != 0;
        if (entry.Owner > LargestOrdinaryId || entry.Group > LargestOrdinaryId || entry.Owner < 0 || entry.Group < 0)
        {
            yield return new($"{path}: owner {entry.Owner}:{entry.Group} is outside the ordinary range", true, false);
        }

        if (entry.Kind == LayerEntryKind.Device && !path.StartsWith(Devices, StringComparison.Ordinal))
        {
            yield return new($"{path}: is a device node, which unpacking without root drops", false, true);
        }

        if (entry.Acl)
        {
            yield return new($"{path}: has an access control list", false, true);
        }

        if (IsKnown(entry))
        {
            yield break;
        }

        if (entry.Capability)
        {
            yield return new($"{path}: has file capabilities", false, true);
        }

        if (IsSetId(entry) && entry.Kind == LayerEntryKind.File)
        {
            yield return new($"{path}: is set-id and owned by {entry.Owner}:{entry.Group}", foreign, true);
        }
        else if (entry.Kind == LayerEntryKind.Directory && (entry.Mode & SetGroup) != 0)
        {
            yield return new($"{path}: is a directory shared by group {entry.Group} (set-group-id)", foreign, true);
        }
        else if (several && foreign && DeniesOthers(entry))
        {
            yield return new($"{path}: only {entry.Owner}:{entry.Group} may read it", true, false);
        }
        else if (several && IsDaemons(entry))
        {
            // Its start scripts give it to the daemon and become it, and both fail where there is no such id.
            yield return new(
                $"{path}: belongs to the system user {entry.Owner}, whom no program can become",
                true,
                false
            );
        }

        if (OwnerIsLockedOut(entry))
        {
            yield return new($"{path}: its owner may not read it (mode {Octal(entry.Mode)})", false, true);
        }
    }

    /// <summary>
    /// A user other than root: once flattened, files are no longer that user's, and where there is one id, podman does not
    /// start what wants another.
    /// </summary>
    public static IEnumerable<FlattenFinding> JudgeUser(string? user, IReadOnlyCollection<int> owners)
    {
        var names = user?.Split(':') ?? [];
        if (names.All(n => n is "" or "root" or "0"))
        {
            yield break;
        }

        var owns = int.TryParse(names[0], out var id)
            ? id != 0 && owners.Contains(id)
            : names[0] is not ("" or "root") && owners.Any(o => o != 0);
        var shown = TarWalk.Shorten(user!);
        yield return new(
            owns ? $"the image runs as '{shown}', which owns files" : $"the image runs as '{shown}', an id of its own",
            true,
            false
        );
    }

    private static bool IsKnown(LayerEntry entry)
    {
        var path = entry.Path;
        if (KnownPlaces.Contains(path) || path.StartsWith(Manuals, StringComparison.Ordinal))
        {
            return true;
        }

        if (entry.Kind == LayerEntryKind.Directory)
        {
            return entry.Owner == 0
                && entry.Group is 0 or StaffGroup
                && (entry.Mode & 0x1ff) is 0x1fd or 0x1ed
                && path.StartsWith(DebianLocal, StringComparison.Ordinal);
        }

        var name = path[(path.LastIndexOf('/') + 1)..];
        return entry.Owner == 0
            && KnownPrograms.Contains(name)
            && Array.Exists(ProgramDirectories, d => path.StartsWith(d, StringComparison.Ordinal));
    }

    private static bool DeniesOthers(LayerEntry entry) =>
        entry.Kind == LayerEntryKind.Directory ? (entry.Mode & 5) != 5 : (entry.Mode & 4) == 0;

    // In one that all may write, as /tmp, nothing is the daemon's.
    private static bool IsDaemons(LayerEntry entry) =>
        entry.Kind == LayerEntryKind.Directory && entry.Owner is > 0 and <= LargestSystemId && (entry.Mode & 2) == 0;

    // Directories that even their owner may not write are what Red Hat's are.
    private static bool OwnerIsLockedOut(LayerEntry entry) =>
        entry.Kind switch
        {
            LayerEntryKind.Directory => (entry.Mode & 0x140) != 0x140,
            LayerEntryKind.File => (entry.Mode & 0x100) == 0,
            _ => false,
        };

    private static string Octal(int mode) => Convert.ToString(mode, 8).PadLeft(4, '0');
}
