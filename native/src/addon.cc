// SPDX-License-Identifier: Apache-2.0
// Entry of the addon: knows fds, bytes, errno and ifindexes, and nothing of what the bytes mean.
#include "addon.h"

#include "libbpf_log.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	CaptureLibbpfLog();
	RegisterObject(env, exports);
	RegisterPin(env, exports);
	RegisterMap(env, exports);
	RegisterMapBatch(env, exports);
	RegisterProgram(env, exports);
	RegisterTcx(env, exports);
	RegisterLink(env, exports);
	RegisterExchange(env, exports);
	RegisterRing(env, exports);
	RegisterSweep(env, exports);
	RegisterProbe(env, exports);
	return exports;
}

NODE_API_MODULE(weir_native, Init)
