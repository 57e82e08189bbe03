// SPDX-License-Identifier: Apache-2.0
// What the running kernel can do, found by trying. On the JS thread, once.
#include <sys/socket.h>

#include <bpf/libbpf.h>

#include "addon.h"
#include "fd.h"
#include "libbpf_log.h"
#include "value.h"

// (map type) -> 1, 0 or -errno
static Napi::Value ProbeMapType(const Napi::CallbackInfo &info)
{
	LibbpfLog quiet;
	return Status(info.Env(), libbpf_probe_bpf_map_type((enum bpf_map_type)ReadUint32(info[0]), nullptr));
}

// (program type, helper) -> 1, 0 or -errno
static Napi::Value ProbeHelper(const Napi::CallbackInfo &info)
{
	LibbpfLog quiet;
	return Status(info.Env(), libbpf_probe_bpf_helper((enum bpf_prog_type)ReadUint32(info[0]),
							  (enum bpf_func_id)ReadUint32(info[1]), nullptr));
}

// () -> cookie of this process's network namespace as a bigint, or -errno: ENOPROTOOPT before Linux 5.14
static Napi::Value NetnsCookie(const Napi::CallbackInfo &info)
{
	static constexpr int kNetnsCookie = 71; // SO_NETNS_COOKIE, newer than the headers this is built with
	Fd any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	if (!any.Ok() || getsockopt(any.Get(), SOL_SOCKET, kNetnsCookie, &cookie, &size) < 0)
		return Status(info.Env(), -errno);
	return Napi::BigInt::New(info.Env(), cookie);
}

void RegisterProbe(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "probeMapType", ProbeMapType);
	Export(env, exports, "probeHelper", ProbeHelper);
	Export(env, exports, "netnsCookie", NetnsCookie);
}
