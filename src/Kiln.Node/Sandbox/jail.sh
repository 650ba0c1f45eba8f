#!/bin/sh
# The build jail (docs/architecture.md, "What a build may do"). The node starts this, before it has a build for it, as
#   unshare --user [OWN] --mount --pid [--net] --ipc --uts --fork --kill-child -- sh jail.sh NET APART [OWN]
# and speaks with it over stdin and stdout: the jail says "kiln-ready", the node writes the id maps, and in its time sends
# "go DIRECTORY", where the jail's root directory, the tables of what is mounted on it and the command are (JailRoot); once
# the network is attached it sends "net". When stdin closes, everything in the jail ends.
# Stages: "" (uid not mapped yet); --ns1 (root of the first user namespace: builds the jail); --ns2 (root of a second
# one, for which the first one's mounts are locked: runs COMMAND). POSIX sh and util-linux only, and few programs: each
# one started is time that every build waits.
# A file bound to /then is a script that runs after COMMAND, when nothing of that is left; where it fails the jail ends
# with 251, a code that COMMAND's own end never gives.
# OWN is there where the user has no id but its own: the option of unshare(1) that maps this one, before anything is started
# in the namespace. The root emulation, which the node has started all of this under, keeps programs from gaining rights
# when they are started.
# APART is "yes", or "no" where the operator said --unsafe-builds: then there are no namespaces but --user and --mount,
# the build shares processes and network with the node's account, and nothing is locked.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Where the kernel shares processors out by session (sched(7), "The autogroup feature"), nice(1) counts within ours only.
{ echo 10 >/proc/self/autogroup; } 2>/dev/null || :

again() { # exec once more: uid 0 is mapped now, exec gives the capabilities; commit_creds clears pdeathsig, setpriv re-arms it
	exec setpriv --pdeathsig KILL -- "$@"
}
enter() { # the working directory becomes /; what was / goes (pivot_root(2), "pivot_root(".", ".")")
	pivot_root . .
	umount -l .
	cd /
}

case $1 in
--ns1) shift ;;
--ns2)
	name=$2
	shift 2
	case $1 in
	--mapped) shift ;;
	*) echo ready >"/run/$name.ready"; read -r go <"/run/$name.go"; again sh /init --ns2 "$name" --mapped "$@" ;;
	esac
	# A root mount of this namespace's own, over the same mounts: buildah 1.39 pivots away from it and remounts it, which
	# the locked flags of the outer one refuse.
	mount -t tmpfs -o mode=0755,size=1m,nr_inodes=1k kiln /new
	cd /new
	directories= links=
	for d in /*; do
		if [ -L "$d" ]; then links="$links $d"
		elif [ -d "$d" ]; then directories="$directories .$d"
		else : >".$d"; fi
	done
	mkdir $directories
	[ -z "$links" ] || cp -P $links .
	mount -a -T /inner
	enter
	cd /build
	if [ "$name" = then ]; then
		read -r _ <&4
		exec 4<&-
	fi
	"$@" </dev/null &
	rc=0; wait $! || rc=$?
	exit $rc ;;
*)
	echo kiln-ready
	read -r go lease && [ "$go" = go ] || exit 1
	again sh "$0" --ns1 "$lease" "$@" ;;
esac

# ---- ns1: uid 0, all capabilities over our own namespaces
lease=$1 net=$2 apart=$3 own=${4-}
. "$lease/command"
exec 3<&0 </dev/null # stdin: the server's hand on our throat
mount --make-rprivate /
[ "$apart" != yes ] || mount -t proc -o nosuid,nodev,noexec proc /proc
mount -a -T "$lease/mounts"
while read -r flags point; do mount -o "remount,bind,$flags" "$point"; done <"$lease/remounts"
cd "$lease/root"
enter
hostname build 2>/dev/null || :
mkfifo /run/build.ready /run/build.go /run/then.ready /run/then.go /run/then.turn
[ ! -e /binfmt ] || while read -r rule; do printf %s "$rule" >/proc/sys/fs/binfmt_misc/register; done </binfmt
[ "$net" != none ] || ip link set lo up 2>/dev/null || :

# The network is there now, and from here on stdin only ever ends: server dead or cancelling.
read -r word <&3 && [ "$word" = net ] || exit 1
trap 'exit 143' TERM
if [ "$apart" = yes ]; then
	( cat <&3 >/dev/null; kill -TERM 1 ) & # PID 1 ends, the kernel ends the rest
else
	( exec >/dev/null 2>&1; cat <&3; kill -KILL 0 ) & # our process group, which is all that can be reached
fi

# ---- ns2: same ids, but ns1's mounts are locked for it
export HOME=/root XDG_CONFIG_HOME=/etc TMPDIR=/build/tmp XDG_RUNTIME_DIR=/run BUILDAH_ISOLATION=chroot \
	_CONTAINERS_USERNS_CONFIGURED=done CONTAINERS_STORAGE_CONF=/etc/containers/storage.conf
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
inner() { # a second namespace, with processes of its own, for a command; when it ends, so does all that it started
	name=$1; shift
	unshare --user $own --mount --pid --fork --kill-child -- sh /init --ns2 "$name" "$@" 3<&- &
	eval "$name=$!"
}
map() { # once both the namespace and its process are there
	read -r _ <"/run/$1.ready"
	[ -z "$own" ] || return 0
	same /proc/self/uid_map >"/proc/$2/uid_map"
	same /proc/self/gid_map >"/proc/$2/gid_map"
}
# What comes after COMMAND gets its namespace now, and waits in it for its turn: made then, each build would wait for it. The
# two do not see each other; the pipe is not COMMAND's, and has no name when that starts.
echo 2 >/proc/sys/user/max_user_namespaces
then=
if [ -e /then ]; then
	exec 4<>/run/then.turn
	inner then sh /then
	rm /run/then.turn
fi
inner build "$@" 4<&-
map build "$build"
[ -z "$then" ] || map then "$then"
# No user namespace more, and none below those: a build that could make its own would be root over mounts in it, and could
# fill the memory with tmpfs files that belong to no process.
echo 0 >/proc/sys/user/max_user_namespaces
# The other one's word first: these pipes have names that COMMAND can open.
[ -z "$then" ] || echo go >/run/then.go
echo go >/run/build.go
rc=0; wait "$build" || rc=$?
if [ $rc = 0 ] && [ -n "$then" ]; then
	# Nothing of the first command runs any more.
	echo now >&4
	wait "$then" || exit 251
fi
[ $rc != 251 ] || rc=250
exit $rc
