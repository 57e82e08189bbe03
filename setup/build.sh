# Sourced by setup.sh: what is compiled here. Rebuilt when the sources' contents change; the makefiles know the rest.

build_native() {
	built native native/build/Release/weir_native.node "$(fingerprint native package-lock.json)" && return
	# nodedir from the environment beats one from ~/.npmrc; node-gyp then downloads no headers.
	logged "compiling" env npm_config_nodedir="$node_package" \
		"$node" node_modules/node-gyp/bin/node-gyp.js -C native --loglevel=warn --jobs="$(nproc)" configure build
	finished native native/build/Release/weir_native.node
}

build_bpf() {
	built bpf bpf/build/pod.bpf.o "$(fingerprint bpf)" && return
	logged "compiling" make -C bpf
	finished bpf bpf/build/pod.bpf.o
}

build_cni() {
	built cni cni/build/weir-cni "$(fingerprint cni)" && return
	logged "compiling" make -C cni
	finished cni cni/build/weir-cni
}

# built STAMP OUTPUT FINGERPRINT: true when OUTPUT is there and of these sources.
built() {
	sources=$3
	verdict="ok: up to date"
	[ -e "$2" ] && fresh "$1" "$sources"
}

# finished STAMP OUTPUT
finished() {
	[ -e "$2" ] || stop "compiling went well, but $2 is not there"
	remember "$1" "$sources"
	verdict="built $2"
}
