// SPDX-License-Identifier: Apache-2.0
// Running and describing programs. On the JS thread; a test run lasts as long as its repeats.
#include <vector>

#include <bpf/bpf.h>

#include "addon.h"
#include "value.h"

// (fd, data, repeat, ctx | undefined, dataOutSize) -> { retval, data, ctx?, durationNs } or -errno
static Napi::Value TestRun(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Bytes data, ctx;
	if (!ReadBytes(info[1], &data))
		return Status(env, -EINVAL);
	bool has_ctx = ReadBytes(info[3], &ctx);
	std::vector<uint8_t> data_out(ReadUint32(info[4])), ctx_out(ctx.size);
	LIBBPF_OPTS(bpf_test_run_opts, run);
	run.data_in = data.data;
	run.data_size_in = data.size;
	run.data_out = data_out.data();
	run.data_size_out = data_out.size();
	run.repeat = ReadUint32(info[2]);
	if (has_ctx) {
		run.ctx_in = ctx.data;
		run.ctx_size_in = ctx.size;
		run.ctx_out = ctx_out.data();
		run.ctx_size_out = ctx_out.size();
	}
	const struct bpf_test_run_opts fresh = run; // the sizes are overwritten
	int status;
	do { // between two repeats the kernel gives up for a signal, and for completions of Node's io_uring
		run = fresh;
		status = bpf_prog_test_run_opts(ReadFd(info[0]), &run);
	} while (status < 0 && errno == EINTR);
	if (status < 0)
		return Status(env, -errno);
	Napi::Object out = Napi::Object::New(env);
	out.Set("retval", Napi::Number::New(env, (int32_t)run.retval));
	out.Set("data",
		CopyBytes(env, data_out.data(), std::min<size_t>(run.data_size_out, data_out.size())));
	if (has_ctx)
		out.Set("ctx",
			CopyBytes(env, ctx_out.data(), std::min<size_t>(run.ctx_size_out, ctx_out.size())));
	out.Set("durationNs", Napi::Number::New(env, run.duration));
	return out;
}

// (fd) -> what the kernel says about a program, or -errno
static Napi::Value ProgramInfo(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	std::vector<uint32_t> map_ids(64); // MAX_USED_MAPS
	struct bpf_prog_info program = {};
	program.nr_map_ids = map_ids.size();
	program.map_ids = (uint64_t)(uintptr_t)map_ids.data();
	uint32_t size = sizeof(program);
	if (bpf_obj_get_info_by_fd(ReadFd(info[0]), &program, &size) < 0)
		return Status(env, -errno);
	program.name[sizeof(program.name) - 1] = 0;
	char tag[2 * BPF_TAG_SIZE + 1] = {};
	for (int i = 0; i < BPF_TAG_SIZE; i++)
		snprintf(tag + 2 * i, 3, "%02x", program.tag[i]);
	Napi::Array ids = Napi::Array::New(env);
	for (uint32_t i = 0; i < program.nr_map_ids && i < map_ids.size(); i++)
		ids.Set(i, Napi::Number::New(env, map_ids[i]));
	Napi::Object out = Napi::Object::New(env);
	out.Set("id", Napi::Number::New(env, program.id));
	out.Set("name", Napi::String::New(env, program.name));
	out.Set("type", Napi::Number::New(env, program.type));
	out.Set("tag", Napi::String::New(env, tag));
	out.Set("runTimeNs", Napi::Number::New(env, (double)program.run_time_ns));
	out.Set("runCount", Napi::Number::New(env, (double)program.run_cnt));
	out.Set("jitedSize", Napi::Number::New(env, program.jited_prog_len));
	out.Set("xlatedInsns", Napi::Number::New(env, program.xlated_prog_len / sizeof(struct bpf_insn)));
	out.Set("mapIds", ids);
	return out;
}

void RegisterProgram(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "testRun", TestRun);
	Export(env, exports, "programInfo", ProgramInfo);
}
