# shellcheck shell=bash disable=SC2154
# The servers under measurement: Kiln and docker-registry are started here, others are only spoken to.

sides=()
declare -A url pid

kiln_port=5831 peer_port=5832

# A pipe that nobody writes to: to wait for a time without starting a process.
exec {nothing}<> <(:)

start_servers() {
    start_kiln "$work/data" --urls "http://127.0.0.1:$kiln_port"
    start_peer "$work/peer" ''
    sides=(kiln docker-registry)
    local other address
    for other in "${others[@]}"; do
        address=${other#*=}
        sides+=("${other%%=*}")
        url[${other%%=*}]=${address%,*}
        case $address in
        *,*) pid[${other%%=*}]=${address##*,} ;;
        *) pid[${other%%=*}]=$(pid_at "$address") ;;
        esac
    done
}

# The process that listens on an address of this machine, or nothing.
pid_at() { ss -Hltnp "sport = :${1##*:}" 2>/dev/null | sed -n 's/.*pid=\([0-9]*\).*/\1/p' | head -1; }

# Usage: start_kiln DATA OPTION …
start_kiln() {
    local data=$1
    shift
    "$work/kiln" serve --data "$data" "$@" >>"$work/kiln.log" 2>&1 </dev/null &
    pid[kiln]=$!
    url[kiln]=http://127.0.0.1:$kiln_port
    await "$kiln_port" "${pid[kiln]}" "$work/kiln.log"
}

# Usage: start_peer DATA HTPASSWD-FILE
start_peer() {
    # Debian's own configuration keeps descriptors in memory too.
    {
        printf 'version: 0.1\n'
        printf 'storage: {filesystem: {rootdirectory: %s}, cache: {blobdescriptor: inmemory}, delete: {enabled: true}}\n' "$1"
        printf 'http: {addr: 127.0.0.1:%s}\n' "$peer_port"
        printf 'log: {level: error, accesslog: {disabled: true}}\n'
        [ -z "$2" ] || printf 'auth: {htpasswd: {realm: bench, path: %s}}\n' "$2"
    } >"$work/registry.yml"
    docker-registry serve "$work/registry.yml" >>"$work/peer.log" 2>&1 </dev/null &
    pid[docker-registry]=$!
    url[docker-registry]=http://127.0.0.1:$peer_port
    await "$peer_port" "${pid[docker-registry]}" "$work/peer.log"
}

# Waits for the first answer, whatever it says, at most 30 s: a look every two milliseconds, without a process for each.
await() {
    local port=$1 process=$2 log=$3 tries line
    for tries in $(seq 15000); do
        if { exec 9<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then
            printf 'GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$port" >&9
            if read -r line <&9 && [[ $line == HTTP/1.1* ]]; then
                exec 9>&-
                return 0
            fi
            exec 9>&-
        fi
        kill -0 "$process" 2>/dev/null || break
        read -r -t 0.002 -u "$nothing" || true
    done
    tail -n 5 "$log" >&2
    die "the server on port $port does not answer (after $tries looks)" "Its log is $log"
}

stop() {
    [ -n "${pid[$1]:-}" ] || return 0
    kill -TERM "${pid[$1]}" 2>/dev/null || true
    wait "${pid[$1]}" 2>/dev/null || true
    pid[$1]=''
}

stop_all() {
    stop kiln
    stop docker-registry
}

# Microseconds of processor that a process and its ended children have had so far; the kernel counts in hundredths.
cpu_of() {
    [ -n "$1" ] && [ -r "/proc/$1/stat" ] || { echo 0 && return; }
    local line
    read -r line <"/proc/$1/stat"
    # shellcheck disable=SC2086
    set -- ${line##*) }
    echo $(((${12} + ${13} + ${14} + ${15}) * 1000000 / $(getconf CLK_TCK)))
}

# Kibibytes: VmRSS is now, VmHWM the most so far. Usage: memory_of PID VmRSS
memory_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status" 2>/dev/null || true; }
