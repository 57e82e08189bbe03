# Sourced by setup.sh: Debian packages. Each is named with what it is wanted for (a program or a file), which is what is
# looked for: so a machine that has them from elsewhere needs no apt.

multiarch=$(uname -m)-linux-gnu

# To build and run the agent.
wanted_run="
	clang:clang
	libbpf-dev:/usr/include/bpf/libbpf.h
	libelf-dev:/usr/include/libelf.h
	zlib1g-dev:/usr/include/zlib.h
	libc6-dev:/usr/include/$multiarch/asm/types.h
	gcc:gcc
	g++:g++
	make:make
	python3:python3
	iproute2:ip
	util-linux:nsenter
	iputils-ping:ping"

# Further: what the tests compare with, drive and boot.
wanted_test="
	llvm:llvm-objcopy
	bpftool:bpftool
	git:git
	clang-format:clang-format
	nftables:nft
	iperf3:iperf3
	tcpdump:tcpdump
	socat:socat
	openssl:openssl
	containernetworking-plugins:/usr/lib/cni/ptp
	qemu-system-x86:qemu-system-x86_64
	busybox-static:busybox
	cpio:cpio
	faketime:faketime
	prometheus:prometheus"

# What a Kubernetes on this machine consists of, beside what setup/stock.sh builds; and the image of Weir for it.
wanted_cluster="
	procps:sysctl
	etcd-server:etcd
	containerd:containerd
	runc:runc
	containernetworking-plugins:/usr/lib/cni/ptp
	iptables:iptables
	nftables:nft
	openssl:openssl
	busybox-static:busybox
	curl:curl
	buildah:buildah
	debootstrap:debootstrap"

# What the pods of Kubernetes' own tests run, beside agnhost.
wanted_conformance="
	netcat-openbsd:nc.openbsd
	bind9-dnsutils:dig
	wget:wget
	bash:bash"

wanted_bench="
	procps:sysctl
	nftables:nft
	iperf3:iperf3
	conntrack:conntrack
	tcpdump:tcpdump
	containernetworking-plugins:/usr/lib/cni/ptp"

# Of these packages only the programs are wanted; Debian has them serve a TCP port, now and from every boot on. package:service
services="
	etcd-server:etcd
	prometheus:prometheus"

install_packages() {
	case $purpose in
	run) wanted=$wanted_run ;;
	test) wanted="$wanted_run $wanted_test $wanted_cluster" ;;
	cluster) wanted="$wanted_run $wanted_cluster" ;;
	conformance) wanted="$wanted_run $wanted_cluster $wanted_conformance" ;;
	bench) wanted="$wanted_run $wanted_bench" ;;
	cluster-bench) wanted="$wanted_run $wanted_cluster $wanted_bench" ;;
	*) stop "purpose \"$purpose\": run, test, bench, cluster, cluster-bench or conformance expected" ;;
	esac
	missing=$(missing_packages)
	[ -n "$missing" ] || {
		verdict="ok: all there"
		return
	}
	command -v apt-get > /dev/null ||
		stop "missing and there is no apt-get to install them: $missing. Install what your distribution calls these Debian packages"

	export DEBIAN_FRONTEND=noninteractive
	logged "reading the package lists" apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update
	# shellcheck disable=SC2086 # a list of words is meant
	logged "installing $missing" apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
		install --yes --no-install-recommends $missing
	left=$(missing_packages)
	[ -z "$left" ] || stop "apt-get reported success, yet these are still missing: $left"
	verdict="installed $missing"
	for pair in $services; do
		case " $missing " in *" ${pair%%:*} "*) silence "${pair#*:}" ;; esac
	done
}

# silence SERVICE: ends the service of a package that was installed just now, and keeps it from starting at the next boot.
silence() {
	{ update-rc.d "$1" disable && invoke-rc.d "$1" stop; } >> "$log" 2>&1 9>&- ||
		verdict="$verdict; its service $1 could not be disabled (see $log)"
}

missing_packages() {
	list=
	for pair in $wanted; do
		present "${pair#*:}" || list="$list ${pair%%:*}"
	done
	printf %s "${list# }"
}

# present PROGRAM | /FILE
present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" > /dev/null ;;
	esac
}
