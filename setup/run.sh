#!/bin/sh
# Sets up what is missing, then runs a TypeScript file of this checkout under the checkout's own Node:
#
#   sh setup/run.sh demo/demo.ts [ARGUMENTS]
#
# PATH then finds this Node first, for the file and for all it starts.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
file=$1
shift
case $file in
test/bench/*)
	# Some workloads run against a real API server or a whole cluster; without a name all are run.
	case " $* " in
	*" nodes "* | *" pods "* | *" scale "* | "  ") purpose=cluster-bench ;;
	*" W"* | *" policy "* | *" flows "*) purpose=bench ;;
	*) purpose=cluster-bench ;;
	esac
	;;
test/cluster/run.ts) purpose=cluster ;;
test/conformance/*) purpose=conformance ;;
test/* | setup/check.ts | bpf/gen/*) purpose=test ;;
*) purpose=run ;;
esac
sh "$root/setup/setup.sh" "$purpose"
program=$file
. "$root/setup/launch.sh"
PATH=$(dirname "$node"):$PATH:/usr/sbin:/sbin
export PATH
exec "$node" "$root/$file" "$@"
