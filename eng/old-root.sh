# shellcheck shell=bash
# A root file system with a glibc as old as that of machines which Kiln is to run on. Nothing is installed on the machine.

# Makes it, unless it is there: glibc and OpenSSL of the oldest release of Debian that is to be had, and nothing else. Takes some ten seconds.
# Needs eng/newer-tools.sh. Usage: ensure_old_root DIRECTORY LOG
ensure_old_root() {
    local directory=$1 log=$2 release
    [ ! -d "$directory" ] || return 0
    : >"$log"
    # glibc 2.28 and 2.31. Mirrors drop a release when it is some years old.
    for release in buster bullseye; do
        rm -rf "$directory.new"
        if unpack_packages "$release" "$directory.new" libc6 libssl1.1 >>"$log" 2>&1; then
            mkdir -p "$directory.new"/{dev,proc,sys,tmp,var/tmp}
            echo root:x:0:0:root:/root:/bin/sh >"$directory.new/etc/passwd"
            mv "$directory.new" "$directory"
            return
        fi
    done
    rm -rf "$directory.new"
    return 1
}
