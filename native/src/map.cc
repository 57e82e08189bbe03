// SPDX-License-Identifier: Apache-2.0
// Single-entry map operations. All on the JS thread: each is one or two short syscalls.
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "addon.h"
#include "map_shape.h"
#include "value.h"

// (fd, key) -> Uint8Array, -ENOENT, -EMSGSIZE when the key's length is not the map's.
static Napi::Value Lookup(const Napi::CallbackInfo &info)
{
	MapShape shape;
	Bytes key;
	int fd = ReadFd(info[0]);
	int error = MapShape::Of(fd, &shape);
	if (error)
		return Status(info.Env(), error);
	if (!ReadBytes(info[1], &key) || key.size != shape.key_size)
		return Status(info.Env(), -EMSGSIZE);
	std::vector<uint8_t> value(shape.value_bytes);
	if (bpf_map_lookup_elem(fd, key.data, value.data()) < 0)
		return Status(info.Env(), -errno);
	return CopyBytes(info.Env(), value.data(), value.size());
}

// (fd, key, value, flags) -> status
static Napi::Value Update(const Napi::CallbackInfo &info)
{
	MapShape shape;
	Bytes key, value;
	int fd = ReadFd(info[0]);
	int error = MapShape::Of(fd, &shape);
	if (error)
		return Status(info.Env(), error);
	if (!ReadBytes(info[1], &key) || key.size != shape.key_size)
		return Status(info.Env(), -EMSGSIZE);
	if (!ReadBytes(info[2], &value) || value.size != shape.value_bytes)
		return Status(info.Env(), -EMSGSIZE);
	int status = bpf_map_update_elem(fd, key.data, value.data, ReadUint32(info[3]));
	return Status(info.Env(), status < 0 ? -errno : 0);
}

// (fd, key) -> status, -ENOENT when absent
static Napi::Value Delete(const Napi::CallbackInfo &info)
{
	MapShape shape;
	Bytes key;
	int fd = ReadFd(info[0]);
	int error = MapShape::Of(fd, &shape);
	if (error)
		return Status(info.Env(), error);
	if (!ReadBytes(info[1], &key) || key.size != shape.key_size)
		return Status(info.Env(), -EMSGSIZE);
	return Status(info.Env(), bpf_map_delete_elem(fd, key.data) < 0 ? -errno : 0);
}

static Napi::Value PossibleCpus(const Napi::CallbackInfo &info)
{
	return Status(info.Env(), libbpf_num_possible_cpus());
}

void RegisterMap(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "mapLookup", Lookup);
	Export(env, exports, "mapUpdate", Update);
	Export(env, exports, "mapDelete", Delete);
	Export(env, exports, "possibleCpus", PossibleCpus);
}
