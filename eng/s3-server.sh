# shellcheck shell=bash
# The S3 server that tests start: s3rver, from npm, in a directory of its own.

s3rver_version=3.7.1

# Makes sure that it is there; prints the directory of its modules. Usage: ensure_s3rver DIRECTORY
ensure_s3rver() {
    local directory=$1
    if [ "$(cat "$directory/version" 2>/dev/null)" != "$s3rver_version" ]; then
        command -v npm >/dev/null || { note "there is no npm here" >&2; return 1; }
        mkdir -p "$directory"
        (cd "$directory" && npm install --no-save --no-package-lock --no-fund --no-audit --loglevel=error \
            --prefix "$directory" "s3rver@$s3rver_version") >&2 || return 1
        printf '%s\n' "$s3rver_version" >"$directory/version"
    fi
    printf '%s' "$directory/node_modules"
}
