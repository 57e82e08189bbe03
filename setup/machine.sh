# Sourced by setup.sh: is this a machine Weir can run on? Nothing is installed here; bpffs is mounted when it is not.

check_machine() {
	[ "$(uname -s)" = Linux ] || stop "Linux is needed, this is $(uname -s)"
	case $(uname -m) in
	x86_64 | aarch64) ;;
	*) stop "x86-64 (tested) or arm64 (not tested) is needed, this is $(uname -m)" ;;
	esac

	# bpf_redirect_peer and bpf_redirect_neigh are what decides: both came with 5.10.
	release=$(uname -r)
	major=${release%%.*}
	minor=${release#*.}
	minor=${minor%%[!0-9]*}
	if [ "$major" -lt 5 ] || { [ "$major" = 5 ] && [ "$minor" -lt 10 ]; }; then
		stop "kernel $release has no bpf_redirect_peer: 5.10 or later is needed (Debian 11 and later have it)"
	fi

	[ -e /sys/kernel/btf/vmlinux ] ||
		stop "kernel $release has no BTF (/sys/kernel/btf/vmlinux): one built with CONFIG_DEBUG_INFO_BTF=y is needed (Debian's are, since 5.10)"

	verdict="ok: Linux $release $(uname -m), BTF"
	if ! grep -q ' /sys/fs/bpf bpf ' /proc/mounts; then
		mount -t bpf bpf /sys/fs/bpf ||
			stop "no BPF file system on /sys/fs/bpf and it cannot be mounted: CONFIG_BPF_SYSCALL=y and CAP_SYS_ADMIN are needed"
		verdict="$verdict; mounted /sys/fs/bpf"
	fi
}
