# shellcheck shell=bash
# An ordinary user who can build: a home, and a range of subordinate ids for newuidmap.

# Makes the user when there is none, and gives it a range where it has none. Only root (or sudo) can.
ensure_builder_user() {
    local user=$1
    if ! id -u "$user" >/dev/null 2>&1; then
        say "Making the ordinary user '$user' (builds and the server never run as root)"
        as_root useradd --create-home --shell /bin/bash "$user"
    fi
    ensure_subordinate_ids "$user"
}

# Makes the user when there is none: one as most clusters have them, without any id but its own. Only root (or sudo) can.
ensure_plain_user() {
    local user=$1
    if ! id -u "$user" >/dev/null 2>&1; then
        say "Making the ordinary user '$user', which has no subordinate ids"
        as_root useradd --create-home --shell /bin/bash -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 "$user"
    fi
    ! has_range "$user" /etc/subuid || die "The user '$user' has subordinate ids, and must not for this."
}

ensure_subordinate_ids() {
    local user=$1 first
    if ! has_range "$user" /etc/subuid || ! has_range "$user" /etc/subgid; then
        first=$(first_free_range)
        say "Giving '$user' the subordinate ids $first to $((first + 65535)) in /etc/subuid and /etc/subgid"
        has_range "$user" /etc/subuid || as_root usermod --add-subuids "$first-$((first + 65535))" "$user"
        has_range "$user" /etc/subgid || as_root usermod --add-subgids "$first-$((first + 65535))" "$user"
    fi
}

has_range() { [ -r "$2" ] && grep -q -E "^($1|$(id -u "$1")):" "$2"; }

# The end of all ranges that anyone has, so that no two users share ids.
first_free_range() {
    cat /etc/subuid /etc/subgid 2>/dev/null |
        awk -F: 'BEGIN { free = 100000 } NF == 3 && $2 + $3 > free { free = $2 + $3 } END { print free }'
}

# Device nodes that ordinary users need: 0666 on an ordinary Debian, root's alone on some small virtual machines.
open_devices() {
    local device
    for device in /dev/net/tun /dev/fuse; do
        if [ -c "$device" ] && [ "$(stat -c %a "$device")" != 666 ]; then
            say "Opening $device to ordinary users (it is 0$(stat -c %a "$device") here, 0666 on an ordinary Debian)"
            as_root chmod 666 "$device"
        fi
    done
}
