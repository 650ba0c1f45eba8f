# shellcheck shell=bash
# What every script here uses: how to speak, how to become another user, how to start and end a program.

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
    printf '\nStopped: %s\n' "$1" >&2
    shift
    printf '         %s\n' "$@" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# Runs a command as root: as it is for root, else through sudo.
as_root() {
    if is_root; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$*' needs root, and there is no sudo here." "Run this script as root, or install sudo."
    fi
}

# Runs a command as an ordinary user, with nothing of the caller's environment but what is named as VAR=value first.
# A script that sets runtime_directory, to a directory of that user, gives it to all these commands.
# Usage: as_user NAME [VAR=value …] COMMAND …
as_user() {
    local user=$1
    shift
    local home
    home=$(getent passwd "$user" | cut -d: -f6)
    local environment=("HOME=$home" "USER=$user" "LOGNAME=$user" "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        "LANG=C.UTF-8" "TERM=${TERM:-dumb}")
    # Without a login there is no /run/user/UID, and what tools use instead may be closed to this user.
    [ -z "${runtime_directory:-}" ] || environment+=("XDG_RUNTIME_DIR=$runtime_directory")
    if [ "$(id -un)" = "$user" ]; then
        (cd "$home" && env -i "${environment[@]}" "$@")
    else
        # --init-groups and --reset-env give what a login of that user would have.
        (cd "$home" && setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups env -i "${environment[@]}" "$@")
    fi
}

debian_codename() {
    # shellcheck disable=SC1091
    (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
}

require_debian() {
    case $(debian_codename) in
    bookworm | trixie) ;;
    *) die "this is written for Debian 12 (bookworm) and 13 (trixie), and this machine says '$(debian_codename)'." \
        "Elsewhere: install what eng/packages.sh lists by hand, then 'dotnet publish src/Kiln.Cli -c Release -r linux-x64'." ;;
    esac
}

require_dotnet() {
    command -v dotnet >/dev/null || die "the .NET 10 SDK is not on the PATH (no 'dotnet')." \
        "Install it from https://dotnet.microsoft.com/download/dotnet/10.0 and run this again."
    dotnet --list-sdks | grep -q '^10\.' || die "'dotnet' is here, but no 10.x SDK: $(dotnet --list-sdks | cut -d' ' -f1 | paste -sd' ')." \
        "Install it from https://dotnet.microsoft.com/download/dotnet/10.0 and run this again."
    # One compiler for all projects of a build; stop_compiler ends it.
    export UseSharedCompilation=true DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 MSBUILDDISABLENODEREUSE=1
}

stop_compiler() { dotnet build-server shutdown --vbcscompiler >/dev/null 2>&1 || true; }

# Removes a directory whose files may belong to a user's subordinate ids. Usage: remove_tree USER DIRECTORY
remove_tree() {
    if is_root; then
        rm -rf --one-file-system "$2"
    else
        as_user "$1" unshare --map-root-user --map-auto rm -rf --one-file-system "$2"
    fi
}
