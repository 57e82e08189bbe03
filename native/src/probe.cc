// SPDX-License-Identifier: Apache-2.0
// What the running kernel can do, found by trying. On the JS thread, once.
#include <bpf/libbpf.h>

#include "addon.h"
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

void RegisterProbe(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "probeMapType", ProbeMapType);
	Export(env, exports, "probeHelper", ProbeHelper);
}
