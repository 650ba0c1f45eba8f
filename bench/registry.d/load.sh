# shellcheck shell=bash disable=SC2154
# How a load is put on a server, and what is noted of it.

# One figure, as a line of the result file. Usage: result CASE SIDE ROUND METRIC VALUE
result() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"; }

# Runs a piece of work on each side, a different one first each time. Usage: in_turns ROUND WORK
in_turns() {
    local n side
    for n in "${!sides[@]}"; do
        side=${sides[$(((n + $1) % ${#sides[@]}))]}
        "$2" "$side" "$1"
    done
}

# GETs by wrk. Usage: gets CASE SIDE ROUND PATH CLIENTS [HEADER …]
gets() {
    local case=$1 side=$2 round=$3 path=$4 clients=$5 headers=() header
    shift 5
    for header in "$@"; do headers+=(-H "$header"); done
    with_cpu "$case" "$side" "$round" wrk -t1 "-c$clients" "-d${seconds}s" --timeout 30s "${headers[@]}" "${url[$side]}$path"
}

# PUTs of new tags by wrk, one connection for each of its threads. Usage: tag_pushes CASE SIDE ROUND REPOSITORY CLIENTS
tag_pushes() {
    manifest @ '' >"$work/template"
    with_cpu "$1" "$2" "$3" wrk "-t$5" "-c$5" "-d${seconds}s" --timeout 30s -s "$work/bench/registry.d/push.lua" "${url[$2]}" \
        -- "$4" "p$3-$5-$RANDOM" "$work/template"
}

# HEADs by ab: wrk waits for the body that a HEAD announces. Usage: heads CASE SIDE ROUND PATH
heads() {
    with_cpu "$1" "$2" "$3" ab -q -k -i -c 4 -t "$seconds" -n 1000000 "${url[$2]}$4"
}

# Runs wrk or ab and notes requests a second, and the server's processor time for one.
with_cpu() {
    local case=$1 side=$2 round=$3 cpu output
    shift 3
    cpu=$(cpu_of "${pid[$side]}")
    output=$("$@" 2>&1) || die "$* failed:" "$output"
    cpu=$(($(cpu_of "${pid[$side]}") - cpu))
    read -r requests took wrong < <(printf '%s\n' "$output" | awk -f "$work/bench/registry.d/counts.awk") || true
    if [ "${requests:-0}" = 0 ] || [ "$wrong" != 0 ]; then
        die "$case on the side of $side: ${requests:-no} requests, $wrong wrong answers" "$output"
    fi
    result "$case" "$side" "$round" per_second "$(awk -v n="$requests" -v t="$took" 'BEGIN { printf "%.1f", n / t }')"
    [ -z "${pid[$side]}" ] || result "$case" "$side" "$round" cpu_us "$(awk -v c="$cpu" -v n="$requests" 'BEGIN { printf "%.1f", c / n }')"
}

# Notes mebibytes a second, and processor time for each. Usage: throughput CASE SIDE ROUND MEBIBYTES COMMAND …
throughput() {
    local case=$1 side=$2 round=$3 size=$4 cpu from
    shift 4
    cpu=$(cpu_of "${pid[$side]}") from=$(date +%s%N)
    "$@" >"$work/last.log" 2>&1 || die "$case on the side of $side failed:" "$(tail -n 5 "$work/last.log")"
    result "$case" "$side" "$round" mib_s "$(awk -v n="$size" -v t=$(($(date +%s%N) - from)) 'BEGIN { printf "%.1f", n * 1e9 / t }')"
    [ -z "${pid[$side]}" ] || result "$case" "$side" "$round" cpu_us_mib "$(awk -v c=$(($(cpu_of "${pid[$side]}") - cpu)) -v n="$size" 'BEGIN { printf "%.1f", c / n }')"
}
