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

# The glibc that a program needs at least: the highest version of the symbols that it asks for. Usage: needed_glibc FILE
needed_glibc() {
    LC_ALL=C readelf -W --version-info "$1" | grep -o 'Name: GLIBC_[0-9.]*' | cut -d _ -f 2 | sort -V | tail -n 1
}

# In a line, what was published. Usage: describe_native FILE
describe_native() {
    printf '%s, %s bytes, runs with glibc %s and newer' "$1" "$(stat -c %s "$1")" "$(needed_glibc "$1")"
}
