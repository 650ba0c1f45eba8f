namespace Kiln.EndToEnd.Harness;

/// <summary>Images to build from, made once a run out of what Debian's packages bring, as OCI layouts.</summary>
internal static class BaseImages
{
    /// <summary>A shell and its tools in 2 MB: quick to push, pull and build on.</summary>
    public static string Busybox(Machine machine)
    {
        var layout = machine.In("images/busybox");
        if (!File.Exists(Path.Combine(layout, "index.json")))
            machine
                .RunAsUser(
                    "bash",
                    "-euc",
                    """
                    . eng/base-image.sh
                    mkdir -p images
                    busybox_tar images/busybox.tar
                    oci_layout_from_tar images/busybox.tar images/busybox '["sh"]'
                    """
                )
                .Ok();
        return layout;
    }

    /// <summary>
    /// The same of arm64, for builds by emulation. Debian's package is fetched once and kept in the user's cache between runs.
    /// </summary>
    public static string BusyboxArm64(Machine machine)
    {
        var made = machine
            .RunAsUser(
                "bash",
                "-euc",
                """
                . eng/lib.sh
                . eng/base-image.sh
                cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
                layout=$cache/busybox-arm64-$(debian_codename)
                mkdir -p "$cache"
                # Two runs at once make it once.
                exec 9>"$cache/busybox.lock"
                flock 9
                if [ ! -e "$layout/index.json" ]; then
                    foreign_busybox arm64 "$cache/busybox" "$cache/busybox.log" || { cat "$cache/busybox.log"; exit 1; }
                    busybox_tar "$cache/busybox.tar" "$cache/busybox"
                    rm -rf "$layout.new"
                    oci_layout_from_tar "$cache/busybox.tar" "$layout.new" '["sh"]' arm64
                    rm "$cache/busybox" "$cache/busybox.tar"
                    mv "$layout.new" "$layout"
                fi
                printf '%s' "$layout"
                """
            )
            .Ok();
        return made.Output.Split('\n')[^1];
    }

    /// <summary>
    /// This machine's Debian with a working apt, for recipes that install packages. Making it takes half a minute, so it is
    /// kept in the user's cache between runs.
    /// </summary>
    public static string Debian(Machine machine)
    {
        var made = machine
            .RunAsUser(
                "bash",
                "-euc",
                """
                . eng/lib.sh
                . eng/base-image.sh
                cache=$(getent passwd "$(id -un)" | cut -d: -f6)/.cache/kiln-tests
                layout=$cache/debian-$(debian_codename)-2
                mkdir -p "$cache"
                exec 9>"$cache/debian.lock"
                flock 9
                if [ ! -e "$layout/index.json" ]; then
                    debian_tar "$(id -un)" "$cache/debian.tar" "$cache/debian.log" || { cat "$cache/debian.log"; exit 1; }
                    rm -rf "$layout.new"
                    oci_layout_from_tar "$cache/debian.tar" "$layout.new" '["bash"]'
                    rm "$cache/debian.tar"
                    mv "$layout.new" "$layout"
                fi
                printf '%s' "$layout"
                """
            )
            .Ok();
        return made.Output.Split('\n')[^1];
    }

    /// <summary>Pushes a layout; prints nothing and returns the reference.</summary>
    public static string Push(Machine machine, Server server, string layout, string name) =>
        Push(machine, server.Host, layout, name);

    /// <inheritdoc cref="Push(Machine, Server, string, string)"/>
    public static string Push(Machine machine, string host, string layout, string name)
    {
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                $"oci:{layout}:latest",
                $"docker://{host}/{name}"
            )
            .Ok();
        return $"{host}/{name}";
    }
}
