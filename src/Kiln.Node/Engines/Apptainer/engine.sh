#!/bin/sh
# Builds a definition's stages with Apptainer in the build jail, from what DefinitionPlan has written, each stage in a directory of
# its own, /build/plan/1 and so on:
#   step.1 …      the lines that begin its steps        base        the name of the image that it starts from in the store, or scratch
#   body.def      bootstrap, %files and %post           body.key    what of the request can change that
#   meta.def      the other sections (last stage only)  meta.key
#   files         what is copied of the context, a path or pattern each line          local    what of it the stage starts from
#   from          the stages that files are taken from, a number each line
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
fail() { # what BuildahFailure takes for the cause
	echo "Error: $*"
	exit 125
}

# What in the context a source of %files stands for, each followed by a zero byte; or more than that, since Apptainer has a shell of its
# own that reads patterns: of what is between the first and the last special character of a name, only that there may be something counts.
sources() ( # PATH
	cd /build/ctx
	pattern=$(printf %s "./$1" | sed 's#[*?[]\([^/]*[]*?]\)\{0,1\}#*#g')
	IFS=
	for name in $pattern; do
		case $name/ in */../*) ;; *) printf '%s\0' "$name" ;; esac
	done
)

# What of that leads out of the context, if anything: %files follows links. Found before anything follows them.
# shellcheck disable=SC2016 # the dollars are the inner shells'
leading_out='
	for name; do
		case $(realpath -m -- "$name")/ in /build/ctx/*) ;; *) printf "%s\n" "$name"; continue ;; esac
		find -L "$name" -xtype l -exec sh -c '\''case $(realpath -m -- "$1")/ in /build/ctx/*) exit 1 ;; esac'\'' sh {} \; -print -quit
	done'
stay_inside() { # STAGE
	while IFS= read -r path; do
		out=$(sources "$path" | (cd /build/ctx && xargs -0r sh -c "$leading_out" sh) 2>/dev/null | head -n 1)
		[ -z "$out" ] || fail "%files $path: $out leads out of the build's context"
	done <"$plan/$1/files"
	while IFS= read -r path; do
		case $(realpath -m "/build/ctx/$path")/ in /build/ctx/*) ;; *) fail "From: $path leads out of the build's context" ;; esac
	done <"$plan/$1/local"
}

# All that can change what is copied: names, kinds, modes and content, behind links too. And of a tree that is taken as it is, where
# its links lead.
copied() ( # PATH
	sources "$1" >$work/sources
	cd /build/ctx
	xargs -0r sh -c 'find -L "$@" -printf "%y %m %p\0"' sh <$work/sources 2>/dev/null | sort -z
	xargs -0r sh -c 'find -L "$@" -type f -print0' sh <$work/sources 2>/dev/null | sort -z | xargs -0r sha256sum -z --
)
taken() ( # PATH
	cd /build/ctx
	find -H "./$1" -type l -printf 'l %p %l\0' -o -printf '%y %m %p\0' 2>/dev/null | sort -z
	find -H "./$1" -type f -print0 2>/dev/null | sort -z | xargs -0r sha256sum -z --
)
body_key() { # STAGE
	{
		cat "$plan/$1/body.key"
		while IFS= read -r path; do copied "$path" | sha256sum; done <"$plan/$1/files"
		while IFS= read -r path; do taken "$path" | sha256sum; done <"$plan/$1/local"
		while read -r stage; do cat "$work/$stage.key"; done <"$plan/$1/from"
	} | hash
}

# The entries of a tree, one for each path: kind, mode, owner, group, time, size, path, and where a link leads.
entries() { # TREE FILE
	(cd "$1" && find . -mindepth 1 -path './dev/*' -prune \
		-o -type d -printf 'd %m %U %G %T@ - %P\0' -o -type f -printf 'f %m %U %G %T@ %s %P\0' \
		-o -type l -printf 'l - %U %G - - %P//%l\0' -o -printf '%y %m %U %G - - %P\0') >$work/unsorted
	sort -z $work/unsorted >"$2"
}
sums() { # TREE FILE: of what is the same
	(cd "$1" && xargs -0r sha256sum -z -- <$work/same) >$work/unsorted
	sort -z $work/unsorted >"$2"
}
paths() { sed -z -e 's/^\([^ ]* \)\{6\}//' -e 's#//.*$##'; }
kinds() { sed -z -e 's/^\(.\) \([^ ]* \)\{5\}/\1 /' -e 's#//.*$##' "$1" | sort -z; }
capabilities() { # TREE FILE
	(cd "$1" && getcap -r .) >$work/unsorted
	sort $work/unsorted >"$2"
}

# What TREE has more than, and other than, the tree below MOUNT: /build/work/changed and gone. The same entry is the same file only
# if its content and its capabilities are.
compare() { # MOUNT TREE
	entries "$1" $work/old
	entries "$2" $work/new
	comm -z -13 $work/old $work/new | paths >$work/changed
	comm -z -12 $work/old $work/new | { grep -z '^f ' || :; } | paths >$work/same
	sums "$1" $work/old.sums
	sums "$2" $work/new.sums
	comm -z -13 $work/old.sums $work/new.sums | sed -z 's/^.\{66\}//' >>$work/changed
	capabilities "$1" $work/old.caps
	capabilities "$2" $work/new.caps
	comm -3 $work/old.caps $work/new.caps | sed -E -e 's/^\t//' -e 's#^\./##' -e 's/ (= )?(cap_[a-z0-9_,]+)?[-=+][-=+a-z0-9_, ]*$//' |
		tr '\n' '\0' >>$work/changed
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
	{
		tar -C "$2" --null --no-recursion --xattrs --xattrs-include='*' --xattrs-exclude='user.rootlesscontainers' --numeric-owner \
			-T $work/list -cf - || : >$work/failed
	} | tar -C "$mount" --xattrs --xattrs-include='*' --numeric-owner --same-owner --keep-directory-symlink -xpf -
	[ ! -e $work/failed ] || fail "what the build has changed could not be read"
	buildah umount "$container" >/dev/null
	# shellcheck disable=SC2086 # none or two words
	buildah commit -q --format docker --identity-label=false ${epoch:+--timestamp $epoch} "$container" "$3" >/dev/null
	buildah rm "$container" >/dev/null
	rm -rf "$1"
}
apptainer_build() { # DEFINITION: into /build/work/tree
	(cd /build/ctx && exec apptainer --nocolor build --sandbox --ignore-fakeroot-command $work/tree "$1")
	# The time of day, in Apptainer's own spelling: a build that was given a time has that one.
	[ -z "$epoch" ] || sed -i "s|^\(\t\"org\.label-schema\.build-date\": \"\)[^\"]*|\1$(date -u -d "@$epoch" +%A_%-d_%B_%Y_%-H:%-M:%-S_UTC)|" \
		$work/tree/.singularity.d/labels.json
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

# The variables of an environment, sorted; without a shell's own, and what stands for whoever ran it.
variables() { sed -zn -e '/^\(PWD\|OLDPWD\|SHLVL\|_\|HOME\)=/d' -e '/^[A-Za-z_][A-Za-z0-9_]*=/p' | sort -z; }
names() { sed -z 's/=.*//' "$1" | sort -z; }
quoted() { sed -z -e "s/'/'\\\\''/g" -e "$1" | tr '\0' '\n'; }

# The environment of the image after SCRIPTS of its own, over what is in $work/seed.
evaluate() { # SHELL SCRIPTS
	# cat is looked for before a script can change PATH.
	# shellcheck disable=SC2016 # the dollars are the inner shells'
	shell=$1 chroot=$(command -v chroot) code='
		eval "kiln_environment() { $(command -v cat || echo /bin/cat) /proc/self/environ; }"
		for script in '$2'; do
			[ ! -f "$script" ] || . "$script" >&2
		done
		kiln_environment' xargs -0 -a $work/seed sh -c 'exec env -i "$@" "$chroot" /build/work/tree "$shell" -c "$code"' sh </dev/null | variables
}

# What the definition makes of its base's environment: oci/env has what it sets, oci/unset the names of what it removes. The base's is
# what its config says, to the letter; or where it has none, what Apptainer's script in it says. Fails where the shell came to no end.
make_environment() { # STAGE SHELL
	based=$(cat "$plan/$1/base") scripts=
	printf 'PATH=%s\0' /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin >$work/seed
	if [ "$based" = scratch ]; then
		scripts='/.singularity.d/env/10-*.sh'
	else
		buildah inspect --type image --format '{{range .OCIv1.Config.Env}}{{printf "%s\x00" .}}{{end}}' "$based" | variables >>$work/seed
	fi
	mkdir -p $work/tree/proc $work/tree/dev
	[ -e $work/tree/dev/null ] || : >$work/tree/dev/null
	mount -t proc proc $work/tree/proc
	mount --bind /dev/null $work/tree/dev/null
	evaluate "$2" "$scripts" >$work/before
	evaluate "$2" "$scripts /.singularity.d/env/9[01]-environment.sh" >$work/after
	umount $work/tree/proc $work/tree/dev/null
	[ -s $work/after ] || return 1
	: >$work/config
	[ "$based" = scratch ] || cp $work/before $work/config
	comm -z -13 $work/config $work/after >"$oci/env"
	names $work/config >$work/config.names
	names $work/after | comm -z -23 $work/config.names - >"$oci/unset"
}

# For programs that know nothing of /.singularity.d: the environment as the image's own, and what they start. All of it stands there
# once more, since 'apptainer run docker://' writes its own in its place, with a runscript that starts what the image says.
make_oci() { # STAGE
	shell=/bin/bash own=$work/tree/.singularity.d oci=$work/tree/.singularity.d/oci
	chroot $work/tree $shell -c : 2>/dev/null || shell=/bin/sh
	chroot $work/tree $shell -c : 2>/dev/null || { echo 'The image has no /bin/sh: outside of Apptainer it has its own entry point.'; return 0; }
	if [ -e "$oci/runscript" ] && [ ! -e "$plan/$1/runscript" ] && grep -q '^OCI_ENTRYPOINT=.*/\.singularity\.d/oci/run' "$own/runscript"; then
		cp -p "$oci/runscript" "$own/runscript"
	fi
	mkdir -p "$oci"
	rm -f "$oci"/9[01]-environment.sh "$oci/env" "$oci/unset"
	cp -p "$own/runscript" "$oci/runscript"
	{
		echo "#!$shell"
		if make_environment "$1" $shell >&2; then
			cp -p "$own"/env/9[01]-environment.sh "$oci"
			echo '# As Apptainer does: the definition'\''s environment over that of the base, then its runscript.'
			# The image's own environment is that already. What nobody has changed since begins as it was.
			comm -z -13 $work/before $work/after | quoted "s/^\([^=]*\)=\(.*\)/[ \"\${\1-}\" != '\2' ] || unset \1/"
			comm -z -23 $work/before $work/after | quoted "s/^\([^=]*\)=\(.*\)/[ -n \"\${\1+x}\" ] || export \1='\2'/"
			cat <<-'END'
				for script in /.singularity.d/oci/9[01]-environment.sh; do
				    [ ! -f "$script" ] || . "$script"
				done
			END
		else
			echo "WARNING: $shell of the image came to no end with the definition's environment; outside of Apptainer the image has none of it." >&2
		fi
		# shellcheck disable=SC2016 # the dollar is that script's
		echo 'exec /.singularity.d/oci/runscript "$@"'
	} >"$oci/run"
	chmod 755 "$oci/run"
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
	stay_inside $current
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
for file in labels.json oci/env oci/unset oci/run; do
	[ ! -f "$work/product/.singularity.d/$file" ] || cp "$work/product/.singularity.d/$file" "/build/meta/${file##*/}"
done
unmounted $work/product
printf 'sha256:%s' "$(has "$image" | sed 's/^sha256://')" >/build/iid
