# shellcheck shell=bash disable=SC2154
# What is in the registries before anything is measured: blobs, tags, referrers, repositories, by eight clients at once.

index_type=application/vnd.oci.image.index.v1+json
image_type=application/vnd.oci.image.manifest.v1+json

digest_of() { printf 'sha256:%s' "$(sha256sum "$1" | cut -d' ' -f1)"; }

# The files that are pushed: the same for every side.
make_contents() {
    local sizes=("1k:1024" "64m:$((64 << 20))" "large:$((large << 20))") entry
    mkdir -p "$work/blobs" "$work/manifests"
    printf '{}' >"$work/blobs/config"
    for entry in "${sizes[@]}"; do
        head -c "${entry#*:}" /dev/urandom >"$work/blobs/${entry%%:*}"
    done
    config=$(digest_of "$work/blobs/config") small=$(digest_of "$work/blobs/1k")
    medium=$(digest_of "$work/blobs/64m") huge=$(digest_of "$work/blobs/large")
    head -c $((96 << 20)) /dev/urandom >"$work/blobs/layers"
    manifest 'first' '' >"$work/manifests/first"
    first=$(digest_of "$work/manifests/first")
}

# An image of one small layer. Usage: manifest NOTE SUBJECT
manifest() {
    printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},' "$image_type" "$config"
    printf '"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":1024}],' "$small"
    [ -z "$2" ] || printf '"subject":{"mediaType":"%s","digest":"%s","size":%s},' "$image_type" "$2" "$(stat -c %s "$work/manifests/first")"
    printf '"annotations":{"bench.note":"%s"}}' "$1"
}

# Pushes a file as a blob, in two requests as docker does. Usage: push_blob URL REPOSITORY FILE DIGEST
push_blob() {
    local location
    location=$(curl -fsS -o /dev/null -D - -X POST "$1/v2/$2/blobs/uploads/" | tr -d '\r' | awk 'tolower($1) == "location:" { print $2 }')
    case $location in http*) ;; *) location=$1$location ;; esac
    case $location in *\?*) location+="&" ;; *) location+="?" ;; esac
    curl -fsS -o /dev/null -T "$3" -H 'Content-Type: application/octet-stream' -H 'Expect:' "${location}digest=$4"
}

# Usage: push_manifest URL REPOSITORY REFERENCE FILE
push_manifest() { curl -fsS -o /dev/null -T "$4" -H "Content-Type: $image_type" "$1/v2/$2/manifests/$3"; }

# Runs requests that stand in a file for curl, eight at a time. Usage: many_requests FILE CODE OPTION …
many_requests() {
    local file=$1 code=$2 wrong
    shift 2
    curl -sS --no-progress-meter -Z --parallel-max 8 -w '%{http_code}\n' -H 'Expect:' "$@" -K "$file" 2>>"$work/curl.log" >"$work/answers" || true
    wrong=$(grep -v -x "$code" "$work/answers" | sort | uniq -c | head -3 || true)
    [ -z "$wrong" ] || die "Requests were not answered with $code but:" "$wrong"
}

# Notes how long a seed took, and what it cost. Usage: timed_seed CASE SIDE COUNT COMMAND …
timed_seed() {
    local case=$1 side=$2 count=$3 from cpu
    shift 3
    cpu=$(cpu_of "${pid[$side]}") from=$(date +%s%N)
    "$@"
    result "$case" "$side" 1 per_second "$(awk -v n="$count" -v t=$(($(date +%s%N) - from)) 'BEGIN { printf "%.1f", n * 1e9 / t }')"
    [ -z "${pid[$side]}" ] || result "$case" "$side" 1 cpu_us $((($(cpu_of "${pid[$side]}") - cpu) / count))
}

seed_servers() {
    local side n
    say "Seeding: $many tags, $referrers referrers, $many repositories"
    for n in $(seq "$referrers"); do
        manifest "referrer $n" "$first" >"$work/manifests/referrer-$n"
    done
    (cd "$work/manifests" && sha256sum referrer-*) >"$work/referrers.sums"
    for side in "${sides[@]}"; do
        seed_contents "${url[$side]}" bench/small
        seed_contents "${url[$side]}" bench/tags
        push_manifest "${url[$side]}" bench/small first "$work/manifests/first"
        push_tags "$side"
        push_referrers "$side"
        push_repositories "$side"
    done
}

# Usage: seed_contents URL REPOSITORY
seed_contents() {
    push_blob "$1" "$2" "$work/blobs/config" "$config"
    push_blob "$1" "$2" "$work/blobs/1k" "$small"
}

# Manifests that differ, each under a tag of its own.
push_tags() {
    local side=$1 n listed
    mkdir -p "$work/manifests/tags"
    [ -e "$work/manifests/tags/$many" ] || manifest @ '' |
        awk -v many="$many" -v dir="$work/manifests/tags/" '{ for (n = 1; n <= many; n++) { text = $0; sub(/@/, "tag " n, text); printf "%s", text >(dir n); close(dir n) } }'
    for n in $(seq "$many"); do
        printf 'upload-file = "%s"\nurl = "%s/v2/bench/tags/manifests/t%05d"\n' "$work/manifests/tags/$n" "${url[$side]}" "$n"
    done >"$work/requests"
    timed_seed push_many_tags_8 "$side" "$many" many_requests "$work/requests" 201 -H "Content-Type: $image_type"
    listed=$(curl -fsS "${url[$side]}/v2/bench/tags/tags/list" | { grep -o '"t[0-9]*"' || true; } | sort -u | wc -l)
    result tags_listed "$side" 1 count "$listed"
}

# Of 8 clients that push referrers of one subject at once: none may be lost.
push_referrers() {
    local side=$1 listed
    awk -v url="${url[$side]}" -v dir="$work/manifests" \
        '{ printf "upload-file = \"%s/%s\"\nurl = \"%s/v2/bench/small/manifests/sha256:%s\"\n", dir, $2, url, $1 }' "$work/referrers.sums" >"$work/requests"
    timed_seed push_referrers_8 "$side" "$referrers" many_requests "$work/requests" 201 -H "Content-Type: $image_type"
    listed=$(curl -sS "${url[$side]}/v2/bench/small/referrers/$first" | { grep -o '"digest"' || true; } | wc -l)
    result referrers_listed "$side" 1 count "$listed"
}

# Each with one image, whose blobs are mounted.
push_repositories() {
    local side=$1 n blob
    for blob in "$config" "$small"; do
        for n in $(seq "$many"); do
            printf 'url = "%s/v2/many/r%05d/blobs/uploads/?mount=%s&from=bench/small"\n' "${url[$side]}" "$n" "$blob"
        done >"$work/requests"
        timed_seed mount_8 "$side" "$many" many_requests "$work/requests" 201 -X POST -H 'Content-Length: 0'
    done
    for n in $(seq "$many"); do
        printf 'upload-file = "%s"\nurl = "%s/v2/many/r%05d/manifests/1"\n' "$work/manifests/first" "${url[$side]}" "$n"
    done >"$work/requests"
    timed_seed push_repositories_8 "$side" "$many" many_requests "$work/requests" 201 -H "Content-Type: $image_type"
}
