using System.Globalization;
using System.Runtime.InteropServices;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Machine;

/// <summary>Finds out what a machine is by reading its files; nothing is changed, and nothing started but what asks a directory for ranges of ids.</summary>
internal static partial class MachineProbe
{
    private static readonly Version OverlayKernel = new(5, 11);
    private static readonly Version EmulatorKernel = new(6, 7);

    public static string HostArchitecture { get; } =
        RuntimeInformation.OSArchitecture == Architecture.Arm64 ? "arm64" : "amd64";

    /// <param name="root">Where its files are.</param>
    /// <param name="architecture">Go's name of its family.</param>
    /// <param name="user">The account that builds, for its subordinate ids.</param>
    /// <param name="uid">The same as a number.</param>
    public static MachineFacts Read(MachineRoot root, string architecture, string user, long uid)
    {
        var processor = Processor.Read(root, architecture);
        var kernel = root.Text("proc/sys/kernel/osrelease");
        return new MachineFacts
        {
            Platform = processor.Platform.ToString(),
            Microarchitecture = processor.Microarchitecture?.Name,
            Processor = processor.Model,
            Cpus = root == MachineRoot.This ? Environment.ProcessorCount : Processor.Count(root),
            MemoryBytes = Processor.Memory(root),
            Kernel = kernel,
            Glibc = root == MachineRoot.This ? GlibcVersion() : null,
            Emulators = [.. Emulator.Programs(architecture).Where(name => root.Has($"usr/bin/{name}"))],
            Gpus = Gpus.Read(root),
            Limits = Limits(root, kernel, user, uid),
        };
    }

    private static KernelLimits Limits(MachineRoot root, string? kernel, string user, long uid) =>
        new()
        {
            MaxUserNamespaces = Number(root.Text("proc/sys/user/max_user_namespaces")),
            UnprivilegedUserNamespaces = root.Text("proc/sys/kernel/unprivileged_userns_clone") != "0",
            AppArmorRestricts = root.Text("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            SubordinateUids = Ids(root, "etc/subuid", user, uid, IdRange.OfUsers),
            SubordinateGids = Ids(root, "etc/subgid", user, uid, IdRange.OfGroups),
            IdMapTools = root.Has("usr/bin/newuidmap") && root.Has("usr/bin/newgidmap"),
            OverlayInUserNamespaces =
                root.Lines("proc/filesystems").Any(l => l.EndsWith("overlay", StringComparison.Ordinal))
                && KernelVersion(kernel) >= OverlayKernel,
            EmulatorsInUserNamespaces = KernelVersion(kernel) >= EmulatorKernel,
            Fuse = root.Has("dev/fuse"),
            Seccomp = root.Has("proc/sys/kernel/seccomp/actions_avail"),
            UnifiedControlGroups = root.Has("sys/fs/cgroup/cgroup.controllers"),
        };

    private static long Ids(MachineRoot root, string file, string user, long uid, Func<string, long, IdRange?> own) =>
        (root == MachineRoot.This ? own(user, uid) : IdRange.Read(root.At(file), user, uid))?.Count ?? 0;

    private static Version? KernelVersion(string? release)
    {
        // 5.14.0-362.el9.x86_64
        var parts = release?.Split('.', '-') ?? [];
        return
            parts.Length > 1
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var minor)
            ? new Version(major, minor)
            : null;
    }

    private static long? Number(string? text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    private static string? GlibcVersion()
    {
        try
        {
            return Marshal.PtrToStringUTF8(gnu_get_libc_version());
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // Another C library.
            return null;
        }
    }

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint gnu_get_libc_version();
}
