// SPDX-License-Identifier: Apache-2.0
#include "map_shape.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static bool IsPerCpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

int MapShape::Of(int fd, MapShape *shape)
{
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	memset(shape->name, 0, sizeof(shape->name));
	memcpy(shape->name, info.name, sizeof(shape->name) - 1);
	shape->type = info.type;
	shape->key_size = info.key_size;
	shape->value_size = info.value_size;
	shape->max_entries = info.max_entries;
	shape->flags = info.map_flags;
	shape->id = info.id;
	shape->per_cpu = IsPerCpu(info.type);
	shape->value_bytes = info.value_size;
	if (shape->per_cpu) {
		int cpus = libbpf_num_possible_cpus();
		if (cpus < 0)
			return cpus;
		shape->value_bytes = (size_t)((info.value_size + 7) / 8 * 8) * cpus;
	}
	return 0;
}

void MapShape::Describe(Napi::Object out) const
{
	Napi::Env env = out.Env();
	out.Set("type", Napi::Number::New(env, type));
	out.Set("keySize", Napi::Number::New(env, key_size));
	out.Set("valueSize", Napi::Number::New(env, value_size));
	out.Set("valueBytes", Napi::Number::New(env, value_bytes));
	out.Set("maxEntries", Napi::Number::New(env, max_entries));
	out.Set("flags", Napi::Number::New(env, flags));
	out.Set("id", Napi::Number::New(env, id));
}
