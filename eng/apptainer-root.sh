# shellcheck shell=bash
# Apptainer, which Debian has in sid only: a small root file system of sid with it inside. Nothing is installed on the machine. What
# needs it runs in namespaces whose root that directory is ('kiln serve --apptainer-root DIRECTORY', or pivot_root(8)).

# Makes the root file system below a directory of a user's, unless it is there. Takes about a minute.
# Usage: ensure_apptainer_root USER DIRECTORY LOG
ensure_apptainer_root() {
    local user=$1 directory=$2 log=$3 mirror packages
    [ ! -x "$directory/usr/bin/apptainer" ] || return 0
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || { note "apt names no Debian mirror here" >&2; return 1; }
    # What operators are told to install is what is tested: docs/guide/definitions.md has the same list, and a test that it does.
    packages=apptainer,buildah,netavark,mount,util-linux-extra,squashfs-tools,squashfuse,iproute2,libcap2-bin,ca-certificates,debootstrap,debian-archive-keyring,gpgv
    # shellcheck disable=SC2016 # the dollars are the inner shell's
    # A Release file of sid is void after a week, and mirrors may be behind.
    as_user "$user" sh -c 'unshare --map-root-user --map-auto rm -rf "$1.new"; exec mmdebstrap --mode=unshare --variant=essential --quiet --dpkgopt=force-unsafe-io \
        --aptopt="Acquire::Check-Valid-Until \"false\"" --aptopt="Acquire::Languages \"none\"" \
        --dpkgopt="path-exclude=/usr/share/man/*" --dpkgopt="path-exclude=/usr/share/doc/*" --dpkgopt="path-exclude=/usr/share/locale/*" \
        --include="$3" sid "$1.new" "$2"' sh "$directory" "$mirror" "$packages" >"$log" 2>&1 &&
        as_user "$user" mv "$directory.new" "$directory"
}
