#!/bin/sh
# fetch-kernel.sh SUITE FOLDER "MODULE...": the newest kernel image of a Debian suite, from this machine's own mirror, as
# FOLDER/vmlinuz, FOLDER/release and FOLDER/MODULE.ko. apt works in a folder of its own: nothing is installed.
set -eu
suite=$1
folder=$2
modules=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"

# The mirror, in either form apt knows; an old suite may have moved to the archive.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2> /dev/null |
	sed -nE 's/^(URIs:|deb( \[[^]]*\])?) +([a-z]+:[^ ]*\/debian)\/?( .*)?$/\3/p' | head -n 1)

private_apt() {
	apt-get -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$work/cache" \
		-o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

# As on disk, without what comes and goes with apt-cache: the name of the image that the meta package depends on.
image_package() {
	apt-cache -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$work/cache" \
		depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

package=
for uri in "${mirror:-http://deb.debian.org/debian}" http://deb.debian.org/debian http://archive.debian.org/debian; do
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" > "$work/sources.list"
	if private_apt -o APT::Update::Error-Mode=any update && package=$(image_package) && [ -n "$package" ]; then
		break
	fi
done
[ -n "$package" ] || {
	echo "no mirror has linux-image-amd64 of $suite" >&2
	exit 1
}

cd "$work"
private_apt download "$package"
dpkg-deb --fsys-tarfile "$work"/*.deb > "$work/files.tar"
release=${package#linux-image-}
mkdir -p "$folder"
tar -xOf "$work/files.tar" "./boot/vmlinuz-$release" > "$folder/vmlinuz.new"
for module in $modules; do
	path=$(tar -tf "$work/files.tar" | grep "/$module\.ko\(\.xz\)\?$")
	case $path in
	*.xz) tar -xOf "$work/files.tar" "$path" | xz -d > "$folder/$module.ko" ;;
	*) tar -xOf "$work/files.tar" "$path" > "$folder/$module.ko" ;;
	esac
done
echo "$release" > "$folder/release"
# Last, so that a folder with an image is complete.
mv "$folder/vmlinuz.new" "$folder/vmlinuz"
