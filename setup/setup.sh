#!/bin/sh
# Installs and builds whatever this checkout is missing, and nothing else. Needs only what Debian 12 comes with, plus
# any Node with npm. Every step looks first, so a second run takes a fraction of a second.
#
#   sh setup/setup.sh [run|test|bench|cluster|cluster-bench|conformance]     what the machine is wanted for; "run" (the agent, the demo) needs least
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-run}
state=.setup
mkdir -p "$state"
. setup/progress.sh

# root, before anything asks for it in a less clear way.
[ "$(id -u)" = 0 ] || stop "root is needed (to load eBPF programs, make network namespaces and install packages): try sudo"

# make, which node-gyp works with, takes such a path for several.
case $PWD in *[[:space:]]*) stop "the path of this checkout must have no space in it, and it is \"$PWD\": move it" ;; esac

# One setup at a time in one checkout; the lock goes with this process.
exec 9> "$state/lock"
if ! flock -n 9; then
	echo "setup: waiting for another setup in this checkout to end"
	flock 9
fi

# npm puts node_modules/.bin first, where `node` is the one that npm ci is about to replace.
PATH=$(printf %s "$PATH" | tr : '\n' | grep -v '/node_modules/' | tr '\n' :)/usr/sbin:/sbin
export PATH

. setup/machine.sh
. setup/packages.sh
. setup/node.sh
. setup/build.sh
. setup/kernels.sh
. setup/stock.sh

step machine check_machine
step packages install_packages
step "node modules" install_node_modules
step "native addon" build_native
step "bpf programs" build_bpf
step "cni plugin" build_cni
[ "$purpose" != test ] || step "old kernels" fetch_kernels
case $purpose in test | cluster | cluster-bench | conformance) step "stock programs" build_stock ;; esac
