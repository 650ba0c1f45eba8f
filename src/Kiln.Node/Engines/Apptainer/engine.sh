#!/bin/sh
# Builds a definition's stages with Apptainer in the build jail, from what DefinitionPlan has written, each stage in a directory of
# its own, /build/plan/1 and so on:
#   step.1 …      the lines that begin its steps        base        the name of the image that it starts from in the store, or scratch
#   body.def      bootstrap, %files and %post           body.key    what of the request can change that
#   meta.def      the other sections (last stage only)  meta.key
#   files         what is read of the context, a path each line     from     the stages that files are taken from, a number each line
#   body, meta    the numbers of the steps that body.def and meta.def stand for
#   Singularity   the definition as written             labels.sed  puts its own words back into labels.json
# What Apptainer makes is a directory. Where the stage stands on an image, what of the directory differs from that becomes a layer over
# it; so the image keeps its base's layers. Finished parts are images of the build's store under a name made of all that can change
# them, so that a later build finds them in the step cache.
set -eu
stages=$1 epoch=$2
export LC_ALL=C HOME=/build/home APPTAINER_TMPDIR=/build/tmp APPTAINER_CACHEDIR=/build/cache
umask 022
mkdir -p /build/home /build/work /build/meta
plan=/build/plan work=/build/work

has() { buildah inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null; }
say_cached() { # STAGE NUMBER …
	stage=$1; shift
	for step; do cat "$plan/$stage/step.$step"; echo '--> Using cache'; done
}
hash() { sha256sum | cut -c1-40; }

# Everything that is in a part of the context, names, modes and content; of a pattern, the whole context.
context() {
	cd /build/ctx
	[ -e "$1" ] || set -- .
	find -L "./$1" \( -type f -printf 'f %m %p\0' \) -o -printf '%y %p\0' 2>/dev/null | sort -z
	find -L "./$1" -type f -print0 2>/dev/null | sort -z | xargs -0r sha256sum -z --
}
body_key() { # STAGE
	{
		cat "$plan/$1/body.key"
		while read -r path; do (context "$path") | sha256sum; done <"$plan/$1/files"
		while read -r stage; do cat "$work/$stage.key"; done <"$plan/$1/from"
	} | hash
}

# The entries of a tree, one for each path: kind, mode, owner, group, time, size, path, and where a link leads.
entries() {
	cd "$1"
	find . -mindepth 1 -path './dev/*' -prune \
		-o -type d -printf 'd %m %U %G %T@ - %P\0' -o -type f -printf 'f %m %U %G %T@ %s %P\0' \
		-o -type l -printf 'l - %U %G - - %P//%l\0' -o -printf '%y %m %U %G - - %P\0' | sort -z
}
paths() { sed -z -e 's/^\([^ ]* \)\{6\}//' -e 's#//.*$##'; }
kinds() { sed -z -e 's/^\(.\) \([^ ]* \)\{5\}/\1 /' -e 's#//.*$##' "$1" | sort -z; }
capabilities() { (cd "$1" && getcap -r . 2>/dev/null | sort); }

# What TREE has more than, and other than, the tree below MOUNT: /build/work/changed and gone. The same entry is the same file only
# if its content and its capabilities are.
compare() { # MOUNT TREE
	(entries "$1") >$work/old
	(entries "$2") >$work/new
	comm -z -13 $work/old $work/new | paths >$work/changed
	comm -z -12 $work/old $work/new | { grep -z '^f ' || :; } | paths >$work/same
	(cd "$1" && xargs -0r sha256sum -z -- <$work/same) | sort -z >$work/old.sums
	(cd "$2" && xargs -0r sha256sum -z -- <$work/same) | sort -z >$work/new.sums
	comm -z -13 $work/old.sums $work/new.sums | sed -z 's/^.\{66\}//' >>$work/changed
	capabilities "$1" >$work/old.caps
	capabilities "$2" >$work/new.caps
	comm -3 $work/old.caps $work/new.caps | sed -e 's/^\t//' -e 's#^\./##' -e 's/ [^ ]*$//' | tr '\n' '\0' >>$work/changed
	kinds $work/old >$work/old.kinds
	kinds $work/new >$work/new.kinds
	comm -z -23 $work/old.kinds $work/new.kinds | sed -z 's/^..//' >$work/gone
}

# Makes TREE an image: a layer over IMAGE that makes that the same. Where nothing beside PART can be other, only that is looked at.
commit() { # TREE IMAGE NAME [PART]
	container=$(buildah from --pull-never "$2")
	mount=$(buildah mount "$container")${4:-}
	set -- "$1" "$1${4:-}" "$3"
	compare "$mount" "$2"
	(cd "$mount" && xargs -0r rm -rf -- <$work/gone)
	sort -zu $work/changed >$work/list
	tar -C "$2" --null --no-recursion --xattrs --xattrs-include='*' --xattrs-exclude='user.rootlesscontainers' --numeric-owner \
		-T $work/list -cf - | tar -C "$mount" --xattrs --xattrs-include='*' --numeric-owner --same-owner --keep-directory-symlink -xpf -
	buildah umount "$container" >/dev/null
	# shellcheck disable=SC2086 # none or two words
	buildah commit -q --format docker --identity-label=false ${epoch:+--timestamp $epoch} "$container" "$3" >/dev/null
	buildah rm "$container" >/dev/null
	rm -rf "$1"
}
apptainer_build() { # DEFINITION: into /build/work/tree
	(cd /build/ctx && exec apptainer --nocolor build --sandbox --ignore-fakeroot-command $work/tree "$1")
}
mounted() { # IMAGE PLACE
	buildah from --pull-never "$1" >"$2.container"
	ln -s "$(buildah mount "$(cat "$2.container")")" "$2"
}
unmounted() { # PLACE
	buildah umount "$(cat "$1.container")" >/dev/null
	buildah rm "$(cat "$1.container")" >/dev/null
	rm "$1" "$1.container"
}

build_body() { # STAGE IMAGE
	cat "$plan/$1/step.1"
	while read -r stage; do mounted "kiln.internal/part:$(cat "$work/$stage.key")" "$work/stage-$stage"; done <"$plan/$1/from"
	apptainer_build "$plan/$1/body.def"
	while read -r stage; do unmounted "$work/stage-$stage"; done <"$plan/$1/from"
	# The next run would take it for that of another build.
	rm -f $work/tree/.singularity.d/Singularity
	commit $work/tree "$(cat "$plan/$1/base")" "$2"
}

# For programs that know nothing of /.singularity.d: the environment as the image's own, and what they start. The runscript stands
# there once more, since 'apptainer run docker://' writes another one in its place, which starts what the image says.
make_oci() { # STAGE
	chroot $work/tree /bin/sh -c : 2>/dev/null || { echo 'The image has no /bin/sh: outside of Apptainer it has its own entry point.'; return 0; }
	oci=$work/tree/.singularity.d/oci
	if [ -e "$oci/runscript" ] && [ ! -e "$plan/$1/runscript" ]; then
		cp -p "$oci/runscript" $work/tree/.singularity.d/runscript
	fi
	mkdir -p "$oci"
	cp -p $work/tree/.singularity.d/runscript "$oci/runscript"
	cat >"$oci/run" <<-'END'
		#!/bin/sh
		# As Apptainer does: the definition's environment, then its runscript.
		for script in /.singularity.d/env/9[01]-environment.sh; do
		    [ ! -f "$script" ] || . "$script"
		done
		exec /.singularity.d/oci/runscript "$@"
	END
	chmod 755 "$oci/run"
	mkdir -p $work/tree/proc
	mount -t proc proc $work/tree/proc
	# shellcheck disable=SC2016 # the dollars are the inner shell's
	env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot $work/tree /bin/sh -c '
		for script in /.singularity.d/env/10-*.sh /.singularity.d/env/9[01]-environment.sh; do
			[ ! -f "$script" ] || . "$script" >/dev/null 2>&1
		done
		exec cat /proc/self/environ' >"$oci/env" 2>/dev/null || :
	umount $work/tree/proc
}

build_meta() { # STAGE BODY IMAGE
	mounted "$2" $work/stage
	apptainer_build "$plan/$1/meta.def"
	unmounted $work/stage
	cp "$plan/$1/Singularity" $work/tree/.singularity.d/Singularity
	sed -i -f "$plan/$1/labels.sed" $work/tree/.singularity.d/labels.json
	make_oci "$1"
	commit $work/tree "$2" "$3" /.singularity.d
}

stage=0
while [ $stage -lt "$stages" ]; do
	current=$((stage + 1))
	key=$(body_key $current)
	image=kiln.internal/part:$key
	echo "$key" >"$work/$current.key"
	# shellcheck disable=SC2046 # a list of numbers
	if has "$image" >/dev/null; then say_cached $current $(cat "$plan/$current/body"); else build_body $current "$image"; fi
	stage=$current
done

body=$image
image=kiln.internal/part:$({ cat "$work/$stages.key" "$plan/$stages/meta.key"; } | hash)
# shellcheck disable=SC2046 # a list of numbers
if has "$image" >/dev/null; then
	say_cached "$stages" $(cat "$plan/$stages/meta")
else
	[ ! -s "$plan/$stages/meta" ] || cat "$plan/$stages/step.$(head -n 1 "$plan/$stages/meta")"
	build_meta "$stages" "$body" "$image"
fi
mounted "$image" $work/product
for file in labels.json oci/env oci/run; do
	[ ! -f "$work/product/.singularity.d/$file" ] || cp "$work/product/.singularity.d/$file" "/build/meta/${file##*/}"
done
unmounted $work/product
printf 'sha256:%s' "$(has "$image" | sed 's/^sha256://')" >/build/iid
