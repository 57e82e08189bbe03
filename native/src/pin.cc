// SPDX-License-Identifier: Apache-2.0
// Files of bpffs and the descriptors behind them. All on the JS thread.
#include <limits.h>
#include <stdio.h>

#include <bpf/bpf.h>

#include "addon.h"
#include "fd.h"
#include "map_shape.h"
#include "value.h"

// (fd, path) -> status; EEXIST when the file is there.
static Napi::Value Pin(const Napi::CallbackInfo &info)
{
	std::string path = ReadString(info[1]);
	return Status(info.Env(), bpf_obj_pin(ReadFd(info[0]), path.c_str()) < 0 ? -errno : 0);
}

static Napi::Value CloseFd(const Napi::CallbackInfo &info)
{
	return Status(info.Env(), close(ReadFd(info[0])) < 0 ? -errno : 0);
}

// "map", "program", "link" or nothing: the kernel tells the kind of a BPF descriptor only by its anonymous
// inode's name.
static const char *KindOf(int fd)
{
	char path[32], target[64] = {};
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		return nullptr;
	if (strstr(target, "bpf-map"))
		return "map";
	if (strstr(target, "bpf-prog"))
		return "program";
	if (strstr(target, "bpf_link") || strstr(target, "bpf-link"))
		return "link";
	return nullptr;
}

static int DescribeProgram(int fd, Napi::Object out)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	info.name[sizeof(info.name) - 1] = 0;
	out.Set("name", Napi::String::New(out.Env(), info.name));
	out.Set("type", Napi::Number::New(out.Env(), info.type));
	out.Set("id", Napi::Number::New(out.Env(), info.id));
	return 0;
}

// (path) -> { kind, fd, ... } or -errno; ENOENT when there is no such file.
static Napi::Value OpenPinned(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Fd fd(bpf_obj_get(ReadString(info[0]).c_str()));
	if (!fd.Ok())
		return Status(env, -errno);
	const char *kind = KindOf(fd.Get());
	if (!kind)
		return Status(env, -EPROTONOSUPPORT);
	Napi::Object handle = Napi::Object::New(env);
	handle.Set("kind", Napi::String::New(env, kind));
	handle.Set("fd", Napi::Number::New(env, fd.Get()));
	MapShape shape;
	int error = 0;
	if (kind[0] == 'm') {
		error = MapShape::Of(fd.Get(), &shape);
		if (!error) {
			handle.Set("name", Napi::String::New(env, shape.name));
			shape.Describe(handle);
		}
	} else if (kind[0] == 'p') {
		error = DescribeProgram(fd.Get(), handle);
	}
	if (error)
		return Status(env, error);
	fd.Release();
	return handle;
}

// (errno) -> [name, text]; the C library knows more of them than libuv.
static Napi::Value ErrnoText(const Napi::CallbackInfo &info)
{
	int number = ReadFd(info[0]);
	const char *name = strerrorname_np(number);
	Napi::Array pair = Napi::Array::New(info.Env(), 2);
	pair.Set(0u, Napi::String::New(info.Env(), name ? name : ""));
	pair.Set(1u, Napi::String::New(info.Env(), strerrordesc_np(number) ? strerrordesc_np(number) : ""));
	return pair;
}

void RegisterPin(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "pin", Pin);
	Export(env, exports, "closeFd", CloseFd);
	Export(env, exports, "openPinned", OpenPinned);
	Export(env, exports, "errnoText", ErrnoText);
}
