#!/bin/sh
# The build jail (docs/architecture.md, "What a build may do"). The node starts it as
#   unshare --user --mount --pid [--net] --ipc --uts --fork --kill-child -- sh jail.sh DIRECTORY NET APART [HOST=/jail/path]... -- COMMAND...
# and speaks with it over stdin and stdout: it says "kiln-ready", the node writes the id maps and attaches the network,
# then sends "go". When stdin closes, everything in the jail ends.
# Stages: "" (uid not mapped yet); --ns1 (root of the first user namespace: builds the jail); --ns2 (root of a second
# one, for which the first one's mounts are locked: runs COMMAND). POSIX sh and util-linux only.
# A file bound to /then is a script that runs after COMMAND, when nothing of that is left; where it fails the jail ends
# with 251, a code that COMMAND's own end never gives.
# APART is "yes", or "no" where the operator said --unsafe-builds: then there are no namespaces but --user and --mount,
# the build shares processes and network with the node's account, and nothing is locked.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

again() { # exec once more: uid 0 is mapped now, exec gives the capabilities; commit_creds clears pdeathsig, setpriv re-arms it
	exec setpriv --pdeathsig KILL -- "$@"
}

case $1 in
--ns1) shift ;;
--ns2)
	shift
	case $1 in
	--mapped) shift ;;
	*) echo ready >/run/kiln/ready; read -r go </run/kiln/go; again sh /init --ns2 --mapped "$@" ;;
	esac
	# A root mount of this namespace's own, over the same mounts: buildah 1.39 pivots away from it and remounts it, which
	# the locked flags of the outer one refuse.
	mount -t tmpfs -o mode=0755,size=1m,nr_inodes=1k kiln /new
	cd /new
	for d in /*; do
		case $d in /new|/proc) continue ;; esac
		if [ -L "$d" ]; then cp -P "$d" ".$d"; continue; fi
		if [ -d "$d" ]; then mkdir ".$d"; else : >".$d"; fi
		mount --rbind "$d" ".$d"
	done
	mkdir old proc
	mount -t proc -o nosuid,nodev,noexec proc proc
	pivot_root . old
	cd /
	umount -l /old
	rmdir /old
	cd /build
	"$@" </dev/null &
	rc=0; wait $! || rc=$?
	exit $rc ;;
*)
	echo kiln-ready
	read -r go && [ "$go" = go ] || exit 1
	again sh "$0" --ns1 "$@" ;;
esac

# ---- ns1: uid 0, all capabilities over our own namespaces
lease=$1 net=$2 apart=$3; shift 3
exec 3<&0 </dev/null # stdin: the server's hand on our throat
trap 'exit 143' TERM
if [ "$apart" = yes ]; then
	( cat <&3 >/dev/null; kill -TERM 1 ) & # stdin closed: server dead or cancelling; PID 1 ends, the kernel ends the rest
	mount -t proc -o nosuid,nodev,noexec proc /proc
else
	( exec >/dev/null 2>&1; cat <&3; kill -KILL 0 ) & # our process group, which is all that can be reached
fi

R=$lease/root
mount -t tmpfs -o mode=0755,size=16m,nr_inodes=4k,nosuid,nodev kiln "$R"
cd "$R"
mkdir -p usr etc/containers etc/ssl dev proc sys tmp run var build old new
ln -s /build/tmp var/tmp # containers/image puts big files there whatever TMPDIR says
mkdir -m 700 root

flags() { # remount every mount at or under $1 with $2 (merges the flags it already has: locked ones must stay)
	findmnt -rno TARGET -R "$1" | while read -r m; do mount -o "remount,bind,$2" "$(printf %b "$m")"; done
}
bind() { # rbind: a plain bind of a tree with (locked) submounts is EINVAL in a user namespace
	[ -e "$1" ] || { echo "kiln: $1 is missing" >&2; exit 1; }
	if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "${2%/*}"; : >>"$2"; fi
	mount --rbind "$1" "$2"
	[ "$3" = - ] || flags "$R/$2" "$3"
}
leaf() { # a directory of the node's own, which has no mounts below it: one call where its file system's flags allow that
	mkdir -p "$2"
	mount -o "bind,$3" "$1" "$2" 2>/dev/null || bind "$1" "$2" "$3"
}
for d in bin sbin lib lib32 lib64 libx32; do
	if [ -L /$d ]; then cp -P /$d $d; elif [ -d /$d ]; then bind /$d $d ro,nosuid,nodev; fi
done
bind /usr usr ro,nosuid,nodev
for f in ld.so.cache ssl/certs; do [ ! -e /etc/$f ] || bind /etc/$f etc/$f ro,nosuid,nodev; done
for d in null zero full random urandom tty; do bind /dev/$d dev/$d -; done
mkdir dev/pts dev/shm
gid5=; while read -r i _ n; do [ $i -gt 5 ] || [ $((i + n)) -le 5 ] || gid5=,gid=5; done </proc/self/gid_map # not with a single id
mount -t devpts -o newinstance,nosuid,noexec,ptmxmode=0666,mode=0620$gid5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev,size=64m shm dev/shm
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
if [ "$apart" = yes ]; then mount -t proc -o nosuid,nodev,noexec proc proc; else bind /proc proc -; fi
if [ "$net" = host ] || [ "$apart" = no ]; then bind /sys sys ro,nosuid,nodev,noexec # a new sysfs belongs to a network namespace of one's own
else mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys; fi
mount -t tmpfs -o mode=0755,size=64m,nosuid,nodev run run
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmp tmp
bind "$lease/build" build nodev
# buildah copies secrets to overlay-containers/ID/userdata and leaves them when a step fails: keep that off the disk.
# No nosuid here: buildah 1.28 cannot bind a secret from a mount that is (locked) nosuid.
mkdir -p build/store/overlay-containers
mount -t tmpfs -o mode=0700,size=64m,nodev work build/store/overlay-containers
stores=
while [ "$1" != -- ]; do
	inside=${1##*=}
	case $inside in
	/out) bind "${1%=*}" .$inside nosuid,nodev ;;
	/then) bind "${1%=*}" .$inside ro,nosuid,nodev ;;
	*) leaf "${1%=*}" .$inside ro,nosuid,nodev ;;
	esac
	case $inside in /steps/*|/bases/*) stores="$stores\"$inside\", " ;; esac
	shift
done
shift
cp "$0" init

echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
echo '127.0.0.1 localhost' >etc/hosts
case $net in
isolated) echo 'nameserver 10.0.2.3' >etc/resolv.conf ;; # slirp4netns answers there
host) cat /etc/resolv.conf >etc/resolv.conf ;;
*) : >etc/resolv.conf ;;
esac
ok='{"": [{"type": "insecureAcceptAnything"}]}'
echo "{\"default\": [{\"type\": \"reject\"}], \"transports\": {\"oci\": $ok, \"containers-storage\": $ok, \"dir\": $ok}}" >etc/containers/policy.json
echo 'unqualified-search-registries = []' >etc/containers/registries.conf
cat >etc/containers/storage.conf <<CONF
[storage]
driver = "overlay"
graphroot = "/build/store"
runroot = "/run/containers"
[storage.options]
additionalimagestores = [$stores]
CONF

pivot_root . old
cd /
umount -l /old
rmdir /old
mount -o remount,bind,ro,nosuid,nodev /
hostname build 2>/dev/null || :
mkdir /run/kiln; mkfifo /run/kiln/ready /run/kiln/go
[ "$net" != none ] || ip link set lo up 2>/dev/null || :

# ---- ns2: same ids, but ns1's mounts are locked for it
export HOME=/root XDG_CONFIG_HOME=/etc TMPDIR=/build/tmp XDG_RUNTIME_DIR=/run BUILDAH_ISOLATION=chroot \
	_CONTAINERS_USERNS_CONFIGURED=done CONTAINERS_STORAGE_CONF=/etc/containers/storage.conf
mkdir -p /build/tmp
if [ "$apart" != yes ]; then
	cd /build
	"$@" 3<&- &
	rc=0; wait $! || rc=$?
	[ $rc != 0 ] || [ ! -e /then ] || sh /then 3<&- || rc=251
	exit $rc
fi
same() { # identity map, extent by extent (a range may not span two extents of the parent), in one write
	m=; while read -r i _ n; do m="$m$i $i $n
"; done <$1; printf %s "$m"
}
inner() { # runs a command in a second namespace with processes of its own; when it ends, so does all that it started
	unshare --user --mount --pid --fork --kill-child -- sh /init --ns2 "$@" 3<&- &
	child=$!
	read -r _ </run/kiln/ready
	same /proc/self/uid_map >/proc/$child/uid_map
	same /proc/self/gid_map >/proc/$child/gid_map
	echo go >/run/kiln/go
	rc=0; wait $child || rc=$?
	return $rc
}
# One user namespace more, and none below it: a build that could make its own would be root over mounts in it, and could
# fill the memory with tmpfs files that belong to no process.
echo 1 >/proc/sys/user/max_user_namespaces
rc=0; inner "$@" || rc=$?
if [ $rc = 0 ] && [ -e /then ]; then
	# Nothing of the first command runs any more. Its namespace may not have been given back yet.
	echo 2 >/proc/sys/user/max_user_namespaces
	inner sh /then || exit 251
fi
[ $rc != 251 ] || rc=250
exit $rc
