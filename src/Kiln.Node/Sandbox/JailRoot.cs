using System.Text;
using Kiln.BuildSpec;

namespace Kiln.Node.Sandbox;

/// <summary>
/// The root directory of one jail, made before its namespaces are: empty places to mount things on, the few files of
/// <c>/etc</c>, and the tables from which <c>jail.sh</c> mounts everything with one call of mount(8) for each namespace.
/// Made here rather than there, since a shell starts a program for each directory and each mount.
/// <code>
/// DIRECTORY/root       becomes / of the jail, read-only
/// DIRECTORY/mounts     fstab(5) of the first namespace
/// DIRECTORY/remounts   flags and path of what must be mounted once more: trees with other mounts in them
/// DIRECTORY/command    what to run, quoted for a shell
/// DIRECTORY/root/binfmt rules of emulators, where there are any
/// DIRECTORY/root/inner fstab(5) of the second namespace, on whose own root everything is bound again
/// </code>
/// </summary>
internal sealed class JailRoot
{
    private const string ReadOnly = "ro,nosuid,nodev";
    private static readonly string[] SystemDirectories = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
    private static readonly string[] SystemFiles = ["etc/ld.so.cache", "etc/ssl/certs"];
    private static readonly string[] Devices = ["null", "zero", "full", "random", "urandom", "tty"];

    private readonly MountTable _table = MountTable.Read();
    private readonly StringBuilder _mounts = new();
    private readonly StringBuilder _remounts = new();
    private readonly string _home;
    private readonly string _root;

    private JailRoot(string home)
    {
        _home = home;
        _root = Path.Combine(home, "root");
    }

    /// <summary>Makes the root of <paramref name="run"/> in its directory.</summary>
    /// <param name="run">What will run in the jail.</param>
    /// <param name="script">jail.sh, which runs inside too.</param>
    /// <param name="apart">Whether the jail has processes and a network of its own.</param>
    /// <param name="singleId">Whether there is no id but root's: the group tty (5), too, is not there.</param>
    /// <exception cref="SandboxException">Something that is to be seen inside is not there.</exception>
    public static void Make(JailRun run, string script, bool apart, bool singleId) =>
        new JailRoot(run.Directory).Write(run, script, apart, singleId);

    private void Write(JailRun run, string script, bool apart, bool singleId)
    {
        foreach (var directory in new[] { "etc/containers", "proc", "sys", "tmp", "run", "var", "new", "dev/pts" })
        {
            Directory.CreateDirectory(Inside(directory));
        }

        Directory.CreateDirectory(Inside("dev/shm"));
        Directory.CreateDirectory(
            Inside("root"),
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
        // containers/image puts big files there whatever TMPDIR says.
        File.CreateSymbolicLink(Inside("var/tmp"), "/build/tmp");
        File.Copy(script, Inside("init"));
        Mount(_root, _root, "bind," + string.Join(',', Flags("ro,nosuid,nodev", _root)));
        System(run.Programs, apart, run.Network);
        MakeDevices(singleId);
        Emulation([.. run.Emulators.Where(e => !e.IsOnMachine)]);
        Build(run);
        Configuration(run);
        File.WriteAllText(Path.Combine(_home, "command"), "set -- " + string.Join(' ', run.Command.Select(Quote)));
        File.WriteAllText(Path.Combine(_home, "remounts"), _remounts.ToString());
        File.WriteAllText(Inside("inner"), "");
        File.WriteAllText(Inside("inner"), Inner());
        File.WriteAllText(Path.Combine(_home, "mounts"), _mounts.ToString());
    }

    // The machine's programs, and what the kernel shows.
    private void System(string programs, bool apart, string network)
    {
        foreach (var name in SystemDirectories)
        {
            var path = Path.Combine(programs, name);
            if (new DirectoryInfo(path) is { LinkTarget: { } target })
            {
                File.CreateSymbolicLink(Inside(name), target);
            }
            else if (Directory.Exists(path))
            {
                Bind(path, name, ReadOnly);
            }
        }

        Bind(Path.Combine(programs, "usr"), "usr", ReadOnly);
        foreach (var name in SystemFiles.Where(n => Path.Exists(Path.Combine(programs, n))))
        {
            Bind(Path.Combine(programs, name), name, ReadOnly);
        }

        MountNew("tmpfs", "run", "mode=0755,size=64m,nosuid,nodev");
        MountNew("tmpfs", "tmp", "mode=1777,size=64m,nosuid,nodev");
        if (apart)
        {
            MountNew("proc", "proc", "nosuid,nodev,noexec");
        }
        else
        {
            Bind("/proc", "proc", null);
        }

        if (apart && network != NetworkModes.Host)
        {
            MountNew("sysfs", "sys", "ro,nosuid,nodev,noexec");
        }
        else
        {
            // A new sysfs belongs to a network namespace of one's own.
            Bind("/sys", "sys", ReadOnly + ",noexec");
        }
    }

    // A mount of this kind belongs to the user namespace that makes it (Linux 6.7): the machine's own is not seen and not changed.
    private void Emulation(IReadOnlyList<Emulator> emulators)
    {
        if (emulators.Count > 0)
        {
            MountNew("binfmt_misc", "proc/sys/fs/binfmt_misc", "nosuid,nodev,noexec");
            File.WriteAllLines(Inside("binfmt"), emulators.Select(e => e.Rule));
        }
    }

    private void MakeDevices(bool singleId)
    {
        foreach (var device in Devices)
        {
            Bind("/dev/" + device, "dev/" + device, null);
        }

        var group = singleId ? "" : ",gid=5";
        MountNew("devpts", "dev/pts", $"newinstance,nosuid,noexec,ptmxmode=0666,mode=0620{group}");
        MountNew("tmpfs", "dev/shm", "mode=1777,nosuid,nodev,size=64m");
        foreach (
            var (link, target) in new[]
            {
                ("ptmx", "pts/ptmx"),
                ("fd", "/proc/self/fd"),
                ("stdin", "fd/0"),
                ("stdout", "fd/1"),
                ("stderr", "fd/2"),
            }
        )
        {
            File.CreateSymbolicLink(Inside("dev/" + link), target);
        }
    }

    // The build's own directory and what it may read.
    private void Build(JailRun run)
    {
        var build = Path.Combine(run.Directory, "build");
        Directory.CreateDirectory(Path.Combine(build, "tmp"));
        Directory.CreateDirectory(Path.Combine(build, "store", "overlay-containers"));
        Bind(build, "build", "nodev");
        // buildah copies secrets to overlay-containers/ID/userdata and leaves them when a step fails: keep that off the
        // disk. No nosuid here: buildah 1.28 cannot bind a secret from a mount that is (locked) nosuid.
        MountNew("tmpfs", "build/store/overlay-containers", "mode=0700,size=64m,nodev");
        foreach (var bind in run.Binds)
        {
            Bind(bind.Host, bind.Inside.TrimStart('/'), bind.Inside == "/out" ? "nosuid,nodev" : ReadOnly);
        }
    }

    private void Configuration(JailRun run)
    {
        Etc("passwd", "root:x:0:0:root:/root:/bin/sh\n");
        Etc("group", "root:x:0:\n");
        Etc("hosts", "127.0.0.1 localhost\n");
        // UTC. Apptainer binds it into the container in which it takes a SIF file apart, without a look whether it is there.
        Etc("localtime", "");
        Etc(
            "resolv.conf",
            run.Network switch
            {
                // slirp4netns answers there.
                NetworkModes.Isolated => "nameserver 10.0.2.3\n",
                NetworkModes.Host => File.ReadAllText("/etc/resolv.conf"),
                _ => "",
            }
        );
        Etc(
            "containers/policy.json",
            """
            {
              "default": [{"type": "reject"}],
              "transports": {
                "oci": {"": [{"type": "insecureAcceptAnything"}]},
                "dir": {"": [{"type": "insecureAcceptAnything"}]},
                "containers-storage": {"": [{"type": "insecureAcceptAnything"}]}
              }
            }
            """
        );
        Etc("containers/registries.conf", "unqualified-search-registries = []\n");
        var stores = run.Binds.Select(b => b.Inside).Where(IsStore).Select(s => $"\"{s}\"");
        Etc(
            "containers/storage.conf",
            $"""
            [storage]
            driver = "overlay"
            graphroot = "/build/store"
            runroot = "/run/containers"
            [storage.options]
            additionalimagestores = [{string.Join(", ", stores)}]

            """
        );
    }

    private static bool IsStore(string inside) =>
        inside.StartsWith("/steps/", StringComparison.Ordinal)
        || inside.StartsWith("/bases/", StringComparison.Ordinal);

    private string Inner()
    {
        var table = new StringBuilder();
        foreach (var path in Directory.EnumerateFileSystemEntries(_root).Order(StringComparer.Ordinal))
        {
            var name = Path.GetFileName(path);
            if (name is not ("new" or "proc") && new FileInfo(path).LinkTarget is null)
            {
                Line(table, "/" + name, "/new/" + name, "none", "rbind");
            }
        }

        Line(table, "proc", "/new/proc", "proc", "nosuid,nodev,noexec");
        return table.ToString();
    }

    private void Bind(string host, string inside, string? flags)
    {
        var target = Inside(inside);
        if (Directory.Exists(host))
        {
            Directory.CreateDirectory(target);
        }
        else if (Path.Exists(host))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.WriteAllText(target, "");
        }
        else
        {
            throw new SandboxException($"{host} is missing, which builds need");
        }

        var below = _table.Below(host).Where(Path.Exists).ToList();
        if (below.Count == 0)
        {
            Mount(host, target, flags is null ? "bind" : "bind," + string.Join(',', Flags(flags, host)));
            return;
        }

        Mount(host, target, "rbind");
        if (flags is null)
        {
            return;
        }

        foreach (var mount in below.Prepend(host))
        {
            _remounts.Append(string.Join(',', Flags(flags, mount)));
            _remounts.Append(' ').Append(target).Append(mount.AsSpan(host.Length)).Append('\n');
        }
    }

    private IEnumerable<string> Flags(string wanted, string path) =>
        wanted.Split(',').Concat(_table.FlagsOf(path)).Distinct(StringComparer.Ordinal);

    private void MountNew(string type, string inside, string options) =>
        Line(_mounts, "kiln", Inside(inside), type, options);

    private void Mount(string what, string where, string options) => Line(_mounts, what, where, "none", options);

    private static void Line(StringBuilder table, string what, string where, string type, string options) =>
        table.Append(Escape(what)).Append(' ').Append(Escape(where)).Append($" {type} {options} 0 0\n");

    // fstab(5): blanks in a path are octal.
    private static string Escape(string path) =>
        path.Replace("\\", "\\134", StringComparison.Ordinal)
            .Replace(" ", "\\040", StringComparison.Ordinal)
            .Replace("\t", "\\011", StringComparison.Ordinal)
            .Replace("\n", "\\012", StringComparison.Ordinal);

    private static string Quote(string word) => $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    private void Etc(string name, string text) => File.WriteAllText(Inside("etc/" + name), text);

    private string Inside(string path) => Path.Combine(_root, path);
}
