// SPDX-License-Identifier: Apache-2.0
// Opening and loading a BPF ELF object with libbpf. On the JS thread: done at start and at an upgrade, and
// the verifier takes milliseconds to seconds. libbpf's object is closed before returning; what stays are
// descriptors.
#include <memory>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "addon.h"
#include "fd.h"
#include "libbpf_log.h"
#include "map_shape.h"
#include "value.h"

struct CloseObject {
	void operator()(struct bpf_object *object) const
	{
		bpf_object__close(object);
	}
};
using ObjectPtr = std::unique_ptr<struct bpf_object, CloseObject>;

// What went wrong, as facts; native/object.ts puts it into words.
struct Failure {
	int status = 0; // -errno
	const char *step = "";
	std::string subject;
	std::string expected;
	std::string found;
};

// libbpf prefixes .rodata, .data and .bss with the object's name; their section name is what a caller knows.
static std::string NameOf(const struct bpf_map *map)
{
	std::string name = bpf_map__name(map);
	size_t dot = name.find('.');
	return bpf_map__is_internal(map) && dot != std::string::npos ? name.substr(dot) : name;
}

static struct bpf_map *FindMap(struct bpf_object *object, const std::string &name)
{
	struct bpf_map *map;
	bpf_object__for_each_map(map, object) if (NameOf(map) == name) return map;
	return nullptr;
}

// Little- and big-endian alike: the low bytes of a 64-bit integer as an integer of `size` bytes.
static void StoreInteger(uint8_t *at, uint32_t size, uint64_t value)
{
	uint8_t u8 = value;
	uint16_t u16 = value;
	uint32_t u32 = value;
	const void *from = size == 1   ? (void *)&u8
			   : size == 2 ? (void *)&u16
			   : size == 4 ? (void *)&u32
				       : &value;
	memcpy(at, from, size);
}

// An integer of `size` bytes; a signed or enum type also takes negative numbers.
static bool IntegerFits(const Napi::BigInt &value, uint32_t size, bool takes_negative, uint64_t *bits)
{
	bool is_unsigned, is_signed;
	*bits = value.Uint64Value(&is_unsigned);
	int64_t number = value.Int64Value(&is_signed);
	if (is_signed && number < 0) {
		*bits = (uint64_t)number;
		return takes_negative && (size == 8 || number >= -(1LL << (size * 8 - 1)));
	}
	return is_unsigned && (size == 8 || *bits >> (size * 8) == 0);
}

// Writes one `const volatile` global into the initial value of its .rodata map, placed by BTF.
static int SetVariable(struct bpf_map *map, const struct btf *btf, const struct btf_var_secinfo *place,
		       const Napi::Value &value, Failure *failure)
{
	size_t map_size;
	uint8_t *initial = (uint8_t *)bpf_map__initial_value(map, &map_size);
	if (!initial || (size_t)place->offset + place->size > map_size)
		return -EINVAL;
	Bytes bytes;
	if (ReadBytes(value, &bytes)) {
		failure->expected = std::to_string(place->size) + " bytes";
		failure->found = std::to_string(bytes.size) + " bytes";
		if (bytes.size != place->size)
			return -EINVAL;
		memcpy(initial + place->offset, bytes.data, bytes.size);
		return 0;
	}
	const struct btf_type *variable = btf__type_by_id(btf, place->type);
	const struct btf_type *type = btf__type_by_id(btf, btf__resolve_type(btf, variable->type));
	bool integer = type && (btf_is_int(type) || btf_is_any_enum(type)) && place->size <= 8;
	failure->expected = integer ? "an integer that fits " + std::to_string(place->size) + " bytes"
				    : std::to_string(place->size) + " raw bytes";
	bool takes_negative = integer && (!btf_is_int(type) || (btf_int_encoding(type) & BTF_INT_SIGNED));
	failure->found.clear();
	uint64_t bits;
	if (!integer || !value.IsBigInt() ||
	    !IntegerFits(value.As<Napi::BigInt>(), place->size, takes_negative, &bits))
		return -EINVAL;
	StoreInteger(initial + place->offset, place->size, bits);
	return 0;
}

static int SetRodata(struct bpf_object *object, const std::string &name, const Napi::Value &value,
		     Failure *failure)
{
	const struct btf *btf = bpf_object__btf(object);
	if (!btf)
		return -EOPNOTSUPP;
	struct bpf_map *map;
	bpf_object__for_each_map(map, object)
	{
		std::string section = NameOf(map);
		if (section.rfind(".rodata", 0) != 0)
			continue;
		int id = btf__find_by_name_kind(btf, section.c_str(), BTF_KIND_DATASEC);
		if (id < 0)
			continue;
		const struct btf_type *datasec = btf__type_by_id(btf, id);
		const struct btf_var_secinfo *place = btf_var_secinfos(datasec);
		for (int i = 0; i < btf_vlen(datasec); i++, place++) {
			const struct btf_type *variable = btf__type_by_id(btf, place->type);
			const char *found = btf__name_by_offset(btf, variable->name_off);
			if (name == found)
				return SetVariable(map, btf, place, value, failure);
			failure->found += failure->found.empty() ? found : std::string(", ") + found;
		}
	}
	return -ENOENT;
}

static std::string ShapeText(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags)
{
	const char *name = libbpf_bpf_map_type_str((enum bpf_map_type)type);
	return std::string(name ? name : "unknown") + " key " + std::to_string(key) + " value " +
	       std::to_string(value) + " max_entries " + std::to_string(entries) + " flags " +
	       std::to_string(flags);
}

// Puts a pinned map in the place of the object's own when the file exists and the shapes agree.
static int ReuseMap(struct bpf_map *map, const std::string &path, Failure *failure)
{
	Fd fd(bpf_obj_get(path.c_str()));
	if (!fd.Ok())
		return errno == ENOENT ? 0 : -errno;
	MapShape pinned;
	int error = MapShape::Of(fd.Get(), &pinned);
	if (error)
		return error;
	failure->expected = ShapeText(bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map),
				      bpf_map__max_entries(map), bpf_map__map_flags(map));
	failure->found =
		ShapeText(pinned.type, pinned.key_size, pinned.value_size, pinned.max_entries, pinned.flags);
	if (failure->expected != failure->found)
		return -EINVAL;
	return bpf_map__reuse_fd(map, fd.Get()); // duplicates the descriptor
}

// Walks an array of [name, value] pairs.
template <typename Each> static bool ForEachPair(const Napi::Value &pairs, Failure *failure, Each each)
{
	if (!pairs.IsArray())
		return true;
	Napi::Array array = pairs.As<Napi::Array>();
	for (uint32_t i = 0; i < array.Length(); i++) {
		Napi::Array pair = array.Get(i).As<Napi::Array>();
		std::string name = ReadString(pair.Get(0u));
		failure->subject = name;
		failure->expected.clear();
		failure->found.clear();
		failure->status = each(name, pair.Get(1u));
		if (failure->status)
			return false;
	}
	return true;
}

static bool Configure(const Napi::CallbackInfo &info, struct bpf_object *object, Failure *failure)
{
	struct bpf_map *map;
	bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, nullptr); // pinning is the caller's

	failure->step = "rodata";
	if (!ForEachPair(info[1], failure, [&](const std::string &name, const Napi::Value &value) {
		    return SetRodata(object, name, value, failure);
	    }))
		return false;
	failure->step = "maxEntries";
	if (!ForEachPair(info[3], failure, [&](const std::string &name, const Napi::Value &value) {
		    struct bpf_map *map = FindMap(object, name);
		    return map ? bpf_map__set_max_entries(map, ReadUint32(value)) : -ENOENT;
	    }))
		return false;
	failure->step = "reuse";
	return ForEachPair(info[2], failure, [&](const std::string &name, const Napi::Value &value) {
		struct bpf_map *map = FindMap(object, name);
		return map ? ReuseMap(map, ReadString(value), failure) : -ENOENT;
	});
}

static Napi::Value Describe(Napi::Env env, struct bpf_object *object, Failure *failure)
{
	std::vector<Fd> owned; // closed again unless all of them could be had
	Napi::Array maps = Napi::Array::New(env), programs = Napi::Array::New(env);
	auto duplicate = [&](int fd, const std::string &name) {
		Fd copy = Fd::Duplicate(fd);
		if (!copy.Ok())
			failure->status = -errno;
		Napi::Object handle = Napi::Object::New(env);
		handle.Set("fd", Napi::Number::New(env, copy.Get()));
		handle.Set("name", Napi::String::New(env, name));
		owned.push_back(std::move(copy));
		return handle;
	};
	struct bpf_map *map;
	bpf_object__for_each_map(map, object)
	{
		Napi::Object handle = duplicate(bpf_map__fd(map), NameOf(map));
		MapShape shape;
		if (MapShape::Of(bpf_map__fd(map), &shape) == 0)
			shape.Describe(handle);
		maps.Set(maps.Length(), handle);
	}
	struct bpf_program *program;
	bpf_object__for_each_program(program, object)
	{
		Napi::Object handle = duplicate(bpf_program__fd(program), bpf_program__name(program));
		handle.Set("type", Napi::Number::New(env, bpf_program__type(program)));
		programs.Set(programs.Length(), handle);
	}
	if (failure->status)
		return env.Undefined();
	for (Fd &fd : owned)
		fd.Release();
	Napi::Object loaded = Napi::Object::New(env);
	loaded.Set("maps", maps);
	loaded.Set("programs", programs);
	return loaded;
}

static Napi::Value Refused(Napi::Env env, const Failure &failure, const LibbpfLog &log)
{
	Napi::Object out = Napi::Object::New(env);
	out.Set("status", Napi::Number::New(env, failure.status));
	out.Set("step", Napi::String::New(env, failure.step));
	out.Set("subject", Napi::String::New(env, failure.subject));
	out.Set("expected", Napi::String::New(env, failure.expected));
	out.Set("found", Napi::String::New(env, failure.found));
	out.Set("log", Napi::String::New(env, log.Text()));
	return out;
}

// (path, rodata pairs, reuse pairs, maxEntries pairs, log level) -> { maps, programs } or { status, step, ...
// }
static Napi::Value OpenObject(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	LibbpfLog log;
	Failure failure;
	failure.step = "open";
	LIBBPF_OPTS(bpf_object_open_opts, options);
	options.kernel_log_level = ReadUint32(info[4]);
	ObjectPtr object(bpf_object__open_file(ReadString(info[0]).c_str(), &options));
	if (!object) {
		failure.status = -errno;
		return Refused(env, failure, log);
	}
	if (!Configure(info, object.get(), &failure))
		return Refused(env, failure, log);
	failure = Failure();
	failure.step = "load";
	if (bpf_object__load(object.get()) < 0)
		failure.status = -errno;
	Napi::Value loaded = failure.status ? env.Undefined() : Describe(env, object.get(), &failure);
	return failure.status ? Refused(env, failure, log) : loaded;
}

void RegisterObject(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "openObject", OpenObject);
}
