// SPDX-License-Identifier: Apache-2.0
// Many entries at once. On the JS thread; a whole map of 100,000 entries takes tens of milliseconds.
#include "map_batch.h"

#include <algorithm>
#include <string>
#include <unordered_set>

#include <bpf/bpf.h>

#include "addon.h"
#include "value.h"

static constexpr int kNotSupported =
	524; // ENOTSUPP, which the kernel leaks to user space for maps without batches
static constexpr uint32_t kBatch = 1024;

static bool BatchUnsupported(int error)
{
	return error == EINVAL || error == kNotSupported || error == EOPNOTSUPP;
}

// Arrays have fixed keys, hashes walk by bucket: neither repeats a key. The others go from key to next key,
// and start over when the key they stand on is deleted meanwhile.
static bool MayRepeat(uint32_t type)
{
	switch (type) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		return false;
	default:
		return true;
	}
}

// LRU hashes that are being filled may report more than max_entries while they are walked; twice that is a
// loop.
static uint64_t StepLimit(const MapShape &shape)
{
	return 2 * (uint64_t)shape.max_entries + kBatch;
}

static int WalkBatches(int fd, const MapShape &shape, const EntryVisitor &visit)
{
	uint32_t capacity = kBatch;
	std::vector<uint8_t> position(std::max<size_t>(shape.key_size, 8)), next(position.size());
	std::vector<uint8_t> keys, values;
	bool first = true;
	for (uint64_t seen = 0; seen <= StepLimit(shape);) {
		keys.resize((size_t)capacity * shape.key_size);
		values.resize((size_t)capacity * shape.value_bytes);
		uint32_t count = capacity;
		int status = bpf_map_lookup_batch(fd, first ? nullptr : position.data(), next.data(),
						  keys.data(), values.data(), &count, nullptr);
		int error = status < 0 ? errno : 0;
		if (error == ENOSPC) { // one bucket alone holds more than fits
			capacity *= 2;
			continue;
		}
		if (error && error != ENOENT)
			return first && BatchUnsupported(error) ? -kNotSupported : -error;
		for (uint32_t i = 0; i < count; i++)
			if (!visit(&keys[(size_t)i * shape.key_size], &values[(size_t)i * shape.value_bytes]))
				return 0;
		if (error == ENOENT)
			return 0;
		seen += count;
		first = false;
		position.swap(next);
	}
	return -ELOOP;
}

static int WalkKeys(int fd, const MapShape &shape, const EntryVisitor &visit)
{
	std::vector<uint8_t> key(shape.key_size), next(shape.key_size), value(shape.value_bytes);
	bool first = true;
	for (uint64_t steps = 0; steps <= StepLimit(shape); steps++) {
		if (bpf_map_get_next_key(fd, first ? nullptr : key.data(), next.data()) < 0)
			return errno == ENOENT ? 0 : -errno;
		first = false;
		key.swap(next);
		if (bpf_map_lookup_elem(fd, key.data(), value.data()) < 0) {
			if (errno !=
			    ENOENT) // deleted between the two calls, or an empty slot of a program array
				return -errno;
			continue;
		}
		if (!visit(key.data(), value.data()))
			return 0;
	}
	return -ELOOP;
}

int WalkMap(int fd, const MapShape &shape, const EntryVisitor &visit)
{
	std::unordered_set<std::string> seen;
	bool may_repeat = MayRepeat(shape.type);
	EntryVisitor once = [&](const uint8_t *key, const uint8_t *value) {
		if (may_repeat && !seen.emplace((const char *)key, shape.key_size).second)
			return true;
		return visit(key, value);
	};
	int status = WalkBatches(fd, shape, once);
	if (status != -kNotSupported)
		return status;
	may_repeat = shape.type != BPF_MAP_TYPE_ARRAY && shape.type != BPF_MAP_TYPE_PERCPU_ARRAY;
	return WalkKeys(fd, shape, once);
}

// (fd) -> { keys, values, count }
static Napi::Value Entries(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	int fd = ReadFd(info[0]);
	MapShape shape;
	int status = MapShape::Of(fd, &shape);
	std::vector<uint8_t> keys, values;
	uint32_t count = 0;
	if (!status)
		status = WalkMap(fd, shape, [&](const uint8_t *key, const uint8_t *value) {
			keys.insert(keys.end(), key, key + shape.key_size);
			values.insert(values.end(), value, value + shape.value_bytes);
			count++;
			return true;
		});
	if (status)
		return Status(env, status);
	Napi::Object out = Napi::Object::New(env);
	out.Set("keys", CopyBytes(env, keys.data(), keys.size()));
	out.Set("values", CopyBytes(env, values.data(), values.size()));
	out.Set("count", Napi::Number::New(env, count));
	return out;
}

static Napi::Value Progress(Napi::Env env, int status, uint32_t done)
{
	Napi::Object out = Napi::Object::New(env);
	out.Set("status", Napi::Number::New(env, status));
	out.Set("done", Napi::Number::New(env, done));
	return out;
}

// (fd, keys, values, count) -> { status, done }
static Napi::Value UpdateBatch(const Napi::CallbackInfo &info)
{
	MapShape shape;
	Bytes keys, values;
	int fd = ReadFd(info[0]);
	size_t wanted = ReadUint32(info[3]);
	int error = MapShape::Of(fd, &shape);
	if (error)
		return Progress(info.Env(), error, 0);
	if (!ReadBytes(info[1], &keys) || keys.size != wanted * shape.key_size ||
	    !ReadBytes(info[2], &values) || values.size != wanted * shape.value_bytes)
		return Progress(info.Env(), -EMSGSIZE, 0);
	uint32_t done = wanted;
	if (wanted == 0 || bpf_map_update_batch(fd, keys.data, values.data, &done, nullptr) == 0)
		return Progress(info.Env(), 0, wanted);
	error = errno;
	if (!BatchUnsupported(error))
		return Progress(info.Env(), -error, done);
	for (done = 0; done < wanted;
	     done++) // a batch that failed with EINVAL may have written some: writing twice is harmless
		if (bpf_map_update_elem(fd, keys.data + done * shape.key_size,
					values.data + done * shape.value_bytes, BPF_ANY) < 0)
			return Progress(info.Env(), -errno, done);
	return Progress(info.Env(), 0, done);
}

// (fd, keys, count) -> { status, done }: how many were there and are deleted
static Napi::Value DeleteBatch(const Napi::CallbackInfo &info)
{
	MapShape shape;
	Bytes keys;
	int fd = ReadFd(info[0]);
	size_t wanted = ReadUint32(info[2]);
	int error = MapShape::Of(fd, &shape);
	if (error)
		return Progress(info.Env(), error, 0);
	if (!ReadBytes(info[1], &keys) || keys.size != wanted * shape.key_size)
		return Progress(info.Env(), -EMSGSIZE, 0);
	uint32_t deleted = 0;
	for (size_t at = 0; at < wanted;) {
		uint32_t done = wanted - at;
		if (bpf_map_delete_batch(fd, keys.data + at * shape.key_size, &done, nullptr) == 0) {
			deleted += wanted - at;
			break;
		}
		error = errno;
		if (BatchUnsupported(error) || error == EFAULT)
			done = 0;
		else if (error != ENOENT)
			return Progress(info.Env(), -error, deleted + done);
		deleted += done;
		at += done; // the batch stops at an absent key: that one alone, then on
		if (bpf_map_delete_elem(fd, keys.data + at * shape.key_size) == 0)
			deleted++;
		else if (errno != ENOENT)
			return Progress(info.Env(), -errno, deleted);
		at++;
	}
	return Progress(info.Env(), 0, deleted);
}

void RegisterMapBatch(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "mapEntries", Entries);
	Export(env, exports, "mapUpdateBatch", UpdateBatch);
	Export(env, exports, "mapDeleteBatch", DeleteBatch);
}
