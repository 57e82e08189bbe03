# Sourced by setup.sh, for tests: Debian's kernels that the programs must load in, besides the one that runs. Kept
# outside the checkout, by the suite's name; only the image and the modules the probe needs are kept.

kernel_cache=${WEIR_CACHE:-/var/cache/weir}/kernels
# suite:what it stands for
kernel_suites="bullseye:5.10 bookworm:6.1"
kernel_modules="sch_ingress cls_bpf veth"

fetch_kernels() {
	if [ "$(uname -m)" != x86_64 ]; then
		verdict="none: the test in old kernels is for x86-64"
		return
	fi
	got=
	for pair in $kernel_suites; do
		suite=${pair%%:*}
		[ -e "$kernel_cache/$suite/vmlinuz" ] && continue
		command -v apt-get > /dev/null || stop "Debian's kernel ${pair#*:} is fetched with apt-get, which is not here"
		logged "fetching Linux ${pair#*:} of Debian $suite" sh setup/fetch-kernel.sh "$suite" "$kernel_cache/$suite" "$kernel_modules"
		got="$got ${pair#*:}"
	done
	verdict="ok: $kernel_suites in $kernel_cache"
	[ -z "$got" ] || verdict="fetched$got into $kernel_cache"
}
