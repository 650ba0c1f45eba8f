using System.Reflection;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Engines.Apptainer;

/// <summary>Apptainer as it is found here, tried in the jail in which it will build.</summary>
/// <param name="Name">Name and version, for example <c>apptainer 1.4.5</c>.</param>
/// <param name="Programs">The root file system that it is taken from.</param>
/// <param name="Binds">What it expects to find.</param>
internal sealed record ApptainerProbe(string Name, string Programs, IReadOnlyList<JailBind> Binds)
{
    /// <summary>Whether <c>Bootstrap: debootstrap</c> has what it calls.</summary>
    public bool Debootstrap { get; init; }

    // What engine.sh calls beside Apptainer and the shell.
    private const string Script = """
        for p in buildah tar find sort comm grep sed xargs sha256sum chroot mount realpath getcap unsquashfs; do
            command -v $p >/dev/null || { echo "kiln-missing $p"; exit 1; }
        done
        buildah --version >/dev/null || { echo "kiln-missing a buildah that starts"; exit 1; }
        ! command -v debootstrap >/dev/null || echo kiln-debootstrap
        apptainer buildcfg
        """;

    /// <summary>The probe, or why definitions cannot be built here and what to do about it.</summary>
    /// <param name="home">A directory for the few files that it needs; kept while the node runs.</param>
    /// <param name="root">Where Apptainer is taken from; null for the machine itself.</param>
    public static async Task<(ApptainerProbe? Probe, string? Unavailable)> RunAsync(
        Jail jail,
        string home,
        string? root,
        BuildLimits limits,
        CancellationToken cancel
    )
    {
        var programs = Path.GetFullPath(root ?? "/");
        // The jail knows no /usr/local: what is installed there has its configuration there too.
        if (!IsIn(programs))
        {
            return (
                null,
                root is null
                    ? "Apptainer is not installed in /usr/bin (or name a root file system that has it there with --apptainer-root)"
                    : $"there is no Apptainer in {programs}/usr/bin, which --apptainer-root names"
            );
        }

        if (!jail.Apart)
        {
            return (null, "Apptainer would not be kept apart here (--unsafe-builds)");
        }

        if (jail.Users.SingleId)
        {
            return (
                null,
                "building with Apptainer needs a range of subordinate ids, which this user has not or may not use"
            );
        }

        var probe = new ApptainerProbe("", programs, Prepare(home));
        var (code, said) = await TryAsync(jail, home, probe, limits, cancel);
        var missing = said.Split('\n').FirstOrDefault(l => l.StartsWith("kiln-missing ", StringComparison.Ordinal));
        var version = said.Split('\n').FirstOrDefault(l => l.StartsWith("PACKAGE_VERSION=", StringComparison.Ordinal));
        return code == 0 && version is not null
            ? (
                probe with
                {
                    Name = $"apptainer {version["PACKAGE_VERSION=".Length..].Trim()}",
                    Debootstrap = said.Split('\n').Contains("kiln-debootstrap"),
                },
                null
            )
            : (
                null,
                missing is null
                    ? $"Apptainer does not run in the build jail: {said.Trim()}"
                    : $"Apptainer is there, but not {missing["kiln-missing ".Length..]}, which building with it needs"
            );
    }

    private static bool IsIn(string root) => File.Exists(Path.Combine(root, "usr/bin/apptainer"));

    // The settings of the site are for its users' containers: builds have Apptainer's defaults.
    private static List<JailBind> Prepare(string home)
    {
        var configuration = Path.Combine(home, "apptainer.conf");
        // Not the jail's /etc/localtime: what a recipe finds there is its base's.
        File.WriteAllText(configuration, "bind path = /etc/hosts\n");
        var session = Directory.CreateDirectory(Path.Combine(home, "session")).FullName;
        var script = Path.Combine(home, "engine.sh");
        using var resource = Assembly
            .GetExecutingAssembly()
            .GetManifestResourceStream("Kiln.Node.Engines.Apptainer.engine.sh")!;
        using var file = File.Create(script);
        resource.CopyTo(file);
        return
        [
            new JailBind(configuration, "/etc/apptainer/apptainer.conf"),
            new JailBind(session, "/var/lib/apptainer/mnt/session"),
            new JailBind(script, "/engine.sh"),
        ];
    }

    private static async Task<(int Code, string Said)> TryAsync(
        Jail jail,
        string home,
        ApptainerProbe probe,
        BuildLimits limits,
        CancellationToken cancel
    )
    {
        var trial = Path.Combine(home, "probe");
        await jail.RemoveAsync(trial, cancel);
        Directory.CreateDirectory(trial);
        try
        {
            var said = new List<byte>();
            var run = new JailRun(trial, NetworkModes.None, probe.Binds, ["sh", "-c", Script], limits)
            {
                Programs = probe.Programs,
            };
            var exit = await jail.RunAsync(run, text => said.AddRange(text), cancel);
            return (exit.Code, Encoding.UTF8.GetString([.. said]));
        }
        finally
        {
            await jail.RemoveAsync(trial, CancellationToken.None);
        }
    }
}
