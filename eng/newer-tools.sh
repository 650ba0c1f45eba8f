# shellcheck shell=bash
# Tools that Debian 12 does not have yet: taken out of Debian 13's packages into a private directory.
# Nothing is installed and no source is added to the system.

# shellcheck disable=SC2016 # the dollars are apt-get's
# Where this machine gets Debian itself from, as apt knows it: the base URI of the newest main archive.
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}

# Unpacks packages of a release of Debian below a directory; the programs are then in DIRECTORY/usr/bin.
# Usage: unpack_packages RELEASE DIRECTORY NAME …
unpack_packages() {
    local release=$1 directory=$2 mirror work
    shift 2
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || { note "apt names no Debian mirror here" >&2; return 1; }

    work=$(mktemp -d)
    mkdir -p "$directory" "$work"/{lists/partial,cache/archives/partial,etc,debs}
    : >"$work/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$work/etc/sources.list"
    local apt=(apt-get -q -q
        -o "Dir::Etc::sourcelist=$work/etc/sources.list" -o "Dir::Etc::sourceparts=-"
        -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status"
        -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=" -o "Acquire::Languages=none")

    local result=0
    if "${apt[@]}" update && (cd "$work/debs" && "${apt[@]}" download "$@"); then
        local package
        for package in "$work"/debs/*.deb; do
            dpkg -x "$package" "$directory" || result=1
        done
    else
        result=1
    fi
    rm -rf "$work"
    return "$result"
}

# Makes sure that a program of the package of its name can be called; prints the directory to put on the PATH, or nothing
# when it is there already.
# Usage: ensure_newer NAME DIRECTORY
ensure_newer() {
    local name=$1 directory=$2
    if command -v "$name" >/dev/null; then
        return 0
    elif [ -x "$directory/usr/bin/$name" ]; then
        printf '%s' "$directory/usr/bin"
    elif unpack_packages trixie "$directory" "$name" >&2 && [ -x "$directory/usr/bin/$name" ]; then
        printf '%s' "$directory/usr/bin"
    else
        return 1
    fi
}
