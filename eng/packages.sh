# shellcheck shell=bash disable=SC2034
# Debian's packages that Kiln needs, by what they are for. The names hold for Debian 12 and 13.

# To link the one native file.
packages_to_link=(gcc libc6-dev zlib1g-dev libsqlite3-dev)

# To build images: the builder, what gives an ordinary user a range of ids, and a network of its own for a build.
packages_to_build_images=(buildah uidmap slirp4netns iproute2)

# To make SIF and squashfs of images.
packages_to_make_formats=(squashfs-tools)

# For the demo: a base image (mmdebstrap), another tool that copies images (skopeo) and one that runs them (podman).
packages_for_demo=(skopeo mmdebstrap podman runc curl jq ca-certificates)

# For the tests: static busybox as the smallest base image, a peer registry, a database, a proxy, a web server for shell, what an S3 server from npm
# runs on (eng/s3-server.sh), two batch systems, an emulator of other processors, and a reader of shell scripts.
packages_for_tests=(busybox-static qemu-user-static docker-registry postgresql nginx-light socat slurmctld slurmd slurm-client munge task-spooler shellcheck)
packages_for_s3=(nodejs npm)

# Installs those of the named packages that are missing.
install_packages() {
    local missing=() name
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    say "Installing Debian packages: ${missing[*]}"
    local log
    log=$(mktemp)
    {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1 </dev/null || {
        tail -n 15 "$log" >&2
        die "apt-get could not install ${missing[*]}." "The whole output is in $log"
    }
    rm -f "$log"
}
