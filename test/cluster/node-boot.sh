#!/bin/sh
# Becomes a node, as pid 1 of a machine would: called in the node's network namespace, in new mount, UTS and cgroup
# namespaces, with the node's control group as the root of the latter. What it mounts is seen by the node alone and goes
# with its last process: nothing is left to unmount.
#
#   node-boot.sh NAME DISK [FOLDER OF THE MACHINE TO SHOW READ-ONLY]...
set -eu
name=$1
disk=$2
shift 2

# Mounts a folder of the machine at the same place below the disk.
show() {
	mkdir -p "$disk$1"
	mount --bind "$1" "$disk$1"
	mount -o remount,ro,bind "$disk$1"
}

mount --make-rprivate /
mount --bind "$disk" "$disk"
mount --rbind /dev "$disk/dev"
mount -t proc proc "$disk/proc"
mount -t sysfs sysfs "$disk/sys"
mount -t bpf bpf "$disk/sys/fs/bpf"
mount -t tmpfs -o mode=755 tmpfs "$disk/run"
mount -t tmpfs -o mode=1777 tmpfs "$disk/tmp"
for folder in /usr "$@"; do show "$folder"; done

# The same hierarchies as the machine has, each with the node's group as its root.
groups=$disk/sys/fs/cgroup
if [ "$(wc -l < /proc/self/cgroup)" = 1 ]; then
	mount -t cgroup2 cgroup2 "$groups"
else
	mount -t tmpfs -o mode=755 tmpfs "$groups"
	while IFS=: read -r _ controllers _; do
		folder=$groups/${controllers#name=}
		type=cgroup
		options=$controllers
		case $controllers in
		"") folder=$groups/unified type=cgroup2 options=rw ;;
		name=*) options=none,$controllers ;;
		*,*) for one in $(echo "$controllers" | tr , ' '); do ln -s "$controllers" "$groups/$one"; done ;;
		esac
		mkdir "$folder"
		mount -t "$type" -o "$options" "$type" "$folder"
	done < /proc/self/cgroup
fi

# In cgroup2 a group with children that have controllers has no processes itself: all programs of the node are in /system.
for procs in "$groups/system/cgroup.procs" "$groups"/*/system/cgroup.procs; do
	[ ! -e "$procs" ] || echo 0 > "$procs"
done
if [ -e "$groups/cgroup.subtree_control" ]; then
	for controller in $(cat "$groups/cgroup.controllers"); do echo "+$controller" > "$groups/cgroup.subtree_control"; done
fi

hostname "$name"
cd "$disk"
mkdir -p machine
pivot_root . machine
umount -l /machine
rmdir /machine
# As an init system does, for pods whose mounts are to be seen by others.
mount --make-rshared /
mkdir /run/netns /run/lock
touch /run/booted
# Keeps the namespaces.
exec sleep infinity
