// SPDX-License-Identifier: Apache-2.0
// Entry of the addon: knows fds, bytes, errno and ifindexes, and nothing of what the bytes mean.
#include "addon.h"

#include <malloc.h>

#include "libbpf_log.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	// glibc gives each thread a heap of its own, which never shrinks; ours and libuv's threads allocate
	// little.
	mallopt(M_ARENA_MAX, 2);
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
