# shellcheck shell=bash disable=SC2154
# The pieces of work.

accept="Accept: application/vnd.oci.image.manifest.v1+json"

load_requests() {
    local side=$1 round=$2 middle
    middle=$(printf 't%05d' $((many / 2)))
    gets manifest_by_tag "$side" "$round" /v2/bench/small/manifests/first 4 "$accept"
    gets manifest_by_digest "$side" "$round" "/v2/bench/small/manifests/$first" 4 "$accept"
    gets manifest_among_many_tags "$side" "$round" "/v2/bench/tags/manifests/$middle" 4 "$accept"
    heads blob_head "$side" "$round" "/v2/bench/small/blobs/$small"
    gets blob_1k "$side" "$round" "/v2/bench/small/blobs/$small" 4
    gets tags_page "$side" "$round" "/v2/bench/tags/tags/list?n=100" 4
    gets tags_page_middle "$side" "$round" "/v2/bench/tags/tags/list?n=100&last=$middle" 4
    gets catalog_page "$side" "$round" "/v2/_catalog?n=100" 4
    gets catalog_page_middle "$side" "$round" "/v2/_catalog?n=100&last=many/r${middle#t}" 4
    # docker-registry 2.8 has no referrers.
    if curl -fs -o /dev/null "${url[$side]}/v2/bench/small/referrers/$first"; then
        gets referrers "$side" "$round" "/v2/bench/small/referrers/$first" 1
    fi
}

load_pushes() {
    local side=$1 round=$2 clients
    for clients in 1 8; do
        tag_pushes "push_tags_$clients" "$side" "$round" bench/small "$clients"
        tag_pushes "push_among_many_tags_$clients" "$side" "$round" bench/tags "$clients"
    done
}

load_blobs() {
    local side=$1 round=$2
    if [ "$round" = 1 ]; then
        push_blob "${url[$side]}" bench/large "$work/blobs/64m" "$medium"
        push_blob "${url[$side]}" bench/large "$work/blobs/large" "$huge"
    fi
    throughput get_64m "$side" "$round" 256 fetch_four "${url[$side]}" "$medium"
    throughput get_64m_4 "$side" "$round" 256 fetch_four "${url[$side]}" "$medium" -Z
    throughput "get_${large}m" "$side" "$round" "$large" curl -fsS -o /dev/null "${url[$side]}/v2/bench/large/blobs/$huge"
    local n files=()
    for n in 1 2 3 4 5; do
        new_blob "$work/blobs/new-$n" "$side $round $n"
        files+=("$(digest_of "$work/blobs/new-$n")")
    done
    # So that nobody pays for writing down what another has pushed.
    sync
    throughput upload_64m "$side" "$round" 64 push_blob "${url[$side]}" bench/up "$work/blobs/new-5" "${files[4]}"
    sync
    throughput upload_64m_4 "$side" "$round" 256 push_four "${url[$side]}" "${files[@]}"
    rm "$work"/blobs/new-*
}

# Usage: fetch_four URL DIGEST [OPTION]
fetch_four() {
    local blob=$1/v2/bench/large/blobs/$2 out=(-o /dev/null)
    curl -fsS "${@:3}" "${out[@]}" "$blob" "${out[@]}" "$blob" "${out[@]}" "$blob" "${out[@]}" "$blob"
}

push_four() {
    local address=$1 n pids=() process
    shift
    for n in 1 2 3 4; do
        push_blob "$address" bench/up "$work/blobs/new-$n" "${!n}" &
        pids+=($!)
    done
    for process in "${pids[@]}"; do wait "$process"; done
}

# 64 MiB that nobody has seen yet. Usage: new_blob FILE TEXT
new_blob() {
    cp "$work/blobs/64m" "$1"
    printf '%s' "$2" | dd of="$1" conv=notrunc status=none
}

# An image of 170 MB of gzipped layers goes in and comes out. skopeo remembers where blobs are, hence a home for each copy.
load_images() {
    local side=$1 round=$2 home=$work/home host=${url[$1]#http*://}
    make_image "$side $round"
    rm -rf "$home" "$work/out" && mkdir "$home"
    throughput skopeo_in "$side" "$round" 162 env HOME="$home" XDG_DATA_HOME="$home" XDG_RUNTIME_DIR="$home" \
        skopeo copy -q --dest-tls-verify=false "oci:$work/image:1" "docker://$host/bench/image:$round"
    throughput skopeo_out "$side" "$round" 162 env HOME="$home" XDG_DATA_HOME="$home" XDG_RUNTIME_DIR="$home" \
        skopeo copy -q --src-tls-verify=false "docker://$host/bench/image:$round" "oci:$work/out:1"
    rm -rf "$work/out" "$home"
}

# Three gzipped layers, of 96, 48 and 18 MiB; the first bytes differ from any other image's. Usage: make_image TEXT
make_image() {
    local size layers='' digest image=$work/image blobs=$work/image/blobs/sha256
    rm -rf "$image" && mkdir -p "$blobs"
    for size in 96 48 18; do
        { printf '%s\n' "$1" && head -c "$((size << 20))" "$work/blobs/layers"; } 2>/dev/null | gzip -1 >"$blobs/layer"
        digest=$(sha256sum "$blobs/layer" | cut -d' ' -f1)
        layers+=",{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$(stat -c %s "$blobs/layer")}"
        mv "$blobs/layer" "$blobs/$digest"
    done
    printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["%s","%s","%s"]}}' "$config" "$small" "$medium" >"$blobs/config"
    digest=$(sha256sum "$blobs/config" | cut -d' ' -f1)
    printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
        "$image_type" "$digest" "$(stat -c %s "$blobs/config")" "${layers#,}" >"$blobs/manifest"
    mv "$blobs/config" "$blobs/$digest"
    digest=$(sha256sum "$blobs/manifest" | cut -d' ' -f1)
    printf '{"imageLayoutVersion":"1.0.0"}' >"$image/oci-layout"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"1"}}]}' \
        "$image_type" "$digest" "$(stat -c %s "$blobs/manifest")" >"$image/index.json"
    mv "$blobs/manifest" "$blobs/$digest"
}

note_memory() {
    [ -n "${pid[$1]}" ] || return 0
    result memory_loaded "$1" 1 kib "$(memory_of "${pid[$1]}" VmRSS)"
    result memory_peak "$1" 1 kib "$(memory_of "${pid[$1]}" VmHWM)"
}

# The same GET by nobody, by a password and by a token. docker-registry has no way to let nobody in beside others.
measure_access() {
    say "With and without a login"
    htpasswd -cbB -C 10 "$work/users" bench bench 2>/dev/null
    printf 'htpasswd: users\nrules:\n  - who: everybody\n    repositories: "**"\n    actions: pull\n  - who: bench\n    repositories: "**"\n    actions: [pull, push]\n' >"$work/policy.yaml"
    start_kiln "$work/access-data" --urls "http://127.0.0.1:$kiln_port" --policy "$work/policy.yaml"
    start_peer "$work/access-peer" "$work/users"
    local side round token basic path=/v2/bench/small/manifests/first
    basic="Authorization: Basic $(printf 'bench:bench' | base64)"
    printf -- '-u bench:bench\n' >"$work/.curlrc"
    for side in kiln docker-registry; do
        HOME=$work seed_contents "${url[$side]}" bench/small
        HOME=$work push_manifest "${url[$side]}" bench/small first "$work/manifests/first"
    done
    token=$(HOME=$work curl -fsS "${url[kiln]}/token?service=127.0.0.1:$kiln_port&scope=repository:bench/small:pull" | sed 's/.*"token" *: *"\([^"]*\)".*/\1/')
    for round in $(seq "$rounds"); do
        gets access_anonymous kiln "$round" "$path" 4 "$accept"
        gets access_password kiln "$round" "$path" 4 "$accept" "$basic"
        gets access_token kiln "$round" "$path" 4 "$accept" "Authorization: Bearer $token"
        gets access_password docker-registry "$round" "$path" 4 "$accept" "$basic"
    done
    stop_all
}

# From the start of the process to its first answer, and the memory two seconds later, with few and with very many
# repositories. The many are not pushed but written into the stopped server's database, which takes seconds.
measure_starts() {
    say "Starting with 10 and with $more repositories"
    local round n size
    start_kiln "$work/start-10" --urls "http://127.0.0.1:$kiln_port"
    start_peer "$work/start-peer" ''
    for n in $(seq 10); do
        seed_contents "${url[kiln]}" "many/r$n"
        push_manifest "${url[kiln]}" "many/r$n" 1 "$work/manifests/first"
        seed_contents "${url[docker-registry]}" "many/r$n"
        push_manifest "${url[docker-registry]}" "many/r$n" 1 "$work/manifests/first"
    done
    stop_all
    cp -r "$work/start-10" "$work/start-more"
    multiply_repositories "$work/start-more/kiln.db"
    for round in $(seq "$rounds"); do
        for size in 10 more; do
            one_start kiln "start_${size/more/$more}" "$round" start_kiln "$work/start-$size" --urls "http://127.0.0.1:$kiln_port"
        done
        one_start docker-registry start_10 "$round" start_peer "$work/start-peer" ''
    done
}

# Usage: one_start SIDE CASE ROUND COMMAND …
one_start() {
    local side=$1 case=$2 round=$3 from
    shift 3
    from=$(date +%s%N)
    "$@"
    result "$case" "$side" "$round" ms $((($(date +%s%N) - from) / 1000000))
    # The wall clock of a busy machine says little; this does.
    result "$case" "$side" "$round" cpu_ms $(($(cpu_of "${pid[$side]}") / 1000))
    sleep 2
    result "memory_idle_${case#start_}" "$side" "$round" kib "$(memory_of "${pid[$side]}" VmRSS)"
    stop "$side"
}

# Each new one has what the tenth has.
multiply_repositories() {
    sqlite3 "$1" <<SQL
PRAGMA foreign_keys = ON;
BEGIN;
WITH RECURSIVE n (i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < $more)
INSERT INTO repositories (name, created) SELECT 'many/r' || i, 0 FROM n;
INSERT INTO repository_blobs (repository, digest, created)
SELECT r.id, l.digest, 0 FROM repositories r JOIN repository_blobs l
WHERE l.repository = (SELECT id FROM repositories WHERE name = 'many/r10') AND r.created = 0;
INSERT INTO manifests (repository, digest, media_type, artifact_type, annotations, content, created)
SELECT r.id, m.digest, m.media_type, m.artifact_type, m.annotations, m.content, 0 FROM repositories r JOIN manifests m
WHERE m.repository = (SELECT id FROM repositories WHERE name = 'many/r10') AND r.created = 0;
INSERT INTO manifest_references (repository, manifest, digest, kind)
SELECT r.id, m.manifest, m.digest, m.kind FROM repositories r JOIN manifest_references m
WHERE m.repository = (SELECT id FROM repositories WHERE name = 'many/r10') AND r.created = 0;
INSERT INTO tags (repository, name, digest, updated)
SELECT r.id, t.name, t.digest, 0 FROM repositories r JOIN tags t
WHERE t.repository = (SELECT id FROM repositories WHERE name = 'many/r10') AND r.created = 0;
COMMIT;
SQL
}
