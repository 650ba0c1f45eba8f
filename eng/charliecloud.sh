# shellcheck shell=bash
# Charliecloud, unpacked into a private directory: Debian's package depends on docker.io, whose daemon would be started on the machine, and
# uses nothing of it.

# Makes sure that ch-image can be called, from the machine or out of a directory of the caller's. Debian 13 needs other packages for it, and
# has to have it installed. Usage: ensure_charliecloud DIRECTORY
ensure_charliecloud() {
    local directory=$1
    if ! command -v ch-image >/dev/null; then
        [ -x "$directory/usr/bin/ch-image" ] || {
            [ "$(debian_codename)" = bookworm ] || { note "Charliecloud is not installed here" >&2; return 1; }
            rm -rf "$directory.new"
            unpack_packages bookworm "$directory.new" charliecloud-builders charliecloud-runtime charliecloud-common squashfuse libsquashfuse0 libfuse3-3 \
                python3-lark python3-requests python3-certifi python3-chardet python3-charset-normalizer python3-idna python3-urllib3 >&2 &&
                mv "$directory.new" "$directory" || return 1
        }
        export PATH=$directory/usr/bin:$PATH PYTHONPATH=$directory/usr/lib/python3/dist-packages
        export LD_LIBRARY_PATH=$directory/usr/lib/x86_64-linux-gnu:$directory/lib/x86_64-linux-gnu
    fi
    ch-image --version >/dev/null 2>&1
}
