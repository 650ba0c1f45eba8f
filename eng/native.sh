# shellcheck shell=bash
# The one native file.

# Publishes it with SQLite linked in, and prints where it is. Usage: publish_native LOG
publish_native() {
    local log=$1
    dotnet publish src/Kiln.Cli -c Release -r linux-x64 -v q -clp:NoSummary >"$log" 2>&1 </dev/null || {
        tail -n 30 "$log" >&2
        die "the native file could not be published." "The whole output is in $log"
    }
    printf '%s' "$PWD/artifacts/publish/Kiln.Cli/release_linux-x64/kiln"
}
