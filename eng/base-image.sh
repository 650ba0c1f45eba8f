# shellcheck shell=bash
# Base images to build from: a directory of files becomes an OCI layout that skopeo can push.

# Makes an OCI layout with one image of one layer out of a tar file.
# Usage: oci_layout_from_tar FILE.tar LAYOUT COMMAND(a JSON array) [ARCHITECTURE]
oci_layout_from_tar() {
    local tar=$1 layout=$2 command=$3 architecture=${4:-} diff_id layer config manifest
    [ -n "$architecture" ] || architecture=$(dpkg --print-architecture)
    mkdir -p "$layout/blobs/sha256"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"

    diff_id=$(sha256sum <"$tar" | cut -d' ' -f1)
    gzip -n -c -4 <"$tar" >"$layout/layer"
    layer=$(blob_into_layout "$layout" "$layout/layer")

    jq -n -c --arg diff_id "sha256:$diff_id" --argjson command "$command" --arg architecture "$architecture" '{
        architecture: $architecture, os: "linux", created: "1970-01-01T00:00:00Z",
        config: {Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: $command},
        rootfs: {type: "layers", diff_ids: [$diff_id]},
        history: [{created: "1970-01-01T00:00:00Z", created_by: "files of the base image"}]}' >"$layout/config"
    config=$(blob_into_layout "$layout" "$layout/config")

    jq -n -c --argjson config "$config" --argjson layer "$layer" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: ($config + {mediaType: "application/vnd.oci.image.config.v1+json"}),
        layers: [$layer + {mediaType: "application/vnd.oci.image.layer.v1.tar+gzip"}]}' >"$layout/manifest"
    manifest=$(blob_into_layout "$layout" "$layout/manifest")

    jq -n -c --argjson manifest "$manifest" '{schemaVersion: 2, manifests: [$manifest + {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        annotations: {"org.opencontainers.image.ref.name": "latest"}}]}' >"$layout/index.json"
}

# Moves a file to its place in a layout, and prints its digest and size as JSON.
blob_into_layout() {
    local digest size
    digest=$(sha256sum <"$2" | cut -d' ' -f1)
    size=$(stat -c %s "$2")
    mv "$2" "$1/blobs/sha256/$digest"
    printf '{"digest":"sha256:%s","size":%s}' "$digest" "$size"
}

# Debian's own sources on this machine, one 'deb' line each; those of others (signed with keys that the image lacks) stay out.
# shellcheck disable=SC2016 # the dollars are apt-get's
debian_sources() {
    apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" { print "deb " $4 " " $2 " " $3 }' | sort -u
}

# Makes a minimal Debian as a tar file, with this machine's own Debian sources inside, so that apt-get works in builds.
# Runs as the named ordinary user (in a user namespace). Usage: debian_tar USER FILE.tar LOG
# shellcheck disable=SC2016 # $1 is the hook's: the new root
debian_tar() {
    local user=$1 tar=$2 log=$3 sources include=()
    sources=$(debian_sources)
    [ -n "$sources" ] || die "apt knows no Debian source on this machine." "Run 'apt-get update' as root and look at its output."
    ! grep -q https: <<<"$sources" || include=(--include=ca-certificates)
    # As in Debian's own container images: no fsync per file, no package files kept, no translations.
    as_user "$user" mmdebstrap --mode=unshare --variant=minbase --format=tar --quiet "${include[@]}" \
        --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' --aptopt='Acquire::GzipIndexes "true"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='echo "APT::Keep-Downloaded-Packages \"false\";" >"$1/etc/apt/apt.conf.d/99no-archives"' \
        "$(debian_codename)" "$tar" - >"$log" 2>&1 <<<"$sources"
}

# Brings Debian's static busybox for another architecture. Runs as an ordinary user. Usage: foreign_busybox ARCHITECTURE FILE LOG
foreign_busybox() {
    local architecture=$1 file=$2 log=$3 sources
    sources=$(debian_sources)
    # Unpacked only, so that nothing of it has to run here.
    mmdebstrap --mode=unshare --variant=extract --architectures="$architecture" --include=busybox-static --format=tar --quiet \
        --aptopt='Acquire::Languages "none"' "$(debian_codename)" "$file.tar" - >"$log" 2>&1 <<<"$sources"
    tar -x -O -f "$file.tar" ./bin/busybox >"$file"
    rm "$file.tar"
}

# Makes the smallest image that has a shell: Debian's static busybox under all its names. Usage: busybox_tar FILE.tar [BUSYBOX]
busybox_tar() {
    local tar=$1 busybox=${2:-/bin/busybox} root
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,etc,root,tmp,var/tmp}
    cp "$busybox" "$root/bin/busybox"
    chmod 755 "$root/bin/busybox"
    local applet
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    chmod 1777 "$root/tmp" "$root/var/tmp"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -c -C "$root" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 . >"$tar"
    rm -rf "$root"
}
