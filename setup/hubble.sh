# Sourced by setup.sh behind stock.sh, for tests: the stock `hubble` client, built from test/stock/hubble/go.mod. A step of
# its own, for it takes minutes: kept outside the checkout until its own go.mod or go.sum changes. .setup/hubble points there.

hubble_package=github.com/cilium/cilium/hubble

build_hubble() {
	folder=$stock_cache/hubble/$(fingerprint test/stock/hubble/go.mod test/stock/hubble/go.sum)
	verdict="ok: in $folder"
	if ! [ -x "$folder/hubble" ]; then
		# A subshell: what cannot be had here is not the end of the setup.
		if (find_go && compile_hubble); then
			verdict="built in $folder"
		else
			verdict="NOT BUILT (see above): tests with the stock hubble will be skipped"
		fi
	fi
	ln -sfn "$folder" "$state/hubble"
}

# Moved into place when it is whole. The module's own version is what `hubble version` says.
compile_hubble() {
	mkdir -p "$folder"
	logged "compiling hubble (a few minutes, once)" env GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 \
		"$go" build -C test/stock/hubble -trimpath -ldflags='-s -w' -o "$folder/hubble.new" "$hubble_package"
	mv "$folder/hubble.new" "$folder/hubble"
}
