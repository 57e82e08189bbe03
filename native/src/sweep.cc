// SPDX-License-Identifier: Apache-2.0
// Deletes and returns the entries of a map whose deadline has passed. On a worker thread: a connection table
// has hundreds of thousands of entries.
#include <bpf/bpf.h>

#include "addon.h"
#include "fd.h"
#include "map_batch.h"
#include "value.h"
#include "worker.h"

class SweepJob : public Job
{
      public:
	SweepJob(int fd, size_t offset, uint64_t threshold, uint32_t limit)
	    : map_(Fd::Duplicate(fd)), offset_(offset), threshold_(threshold), limit_(limit)
	{
	}
	void Run() override;
	Napi::Value Result(Napi::Env env) override;

      private:
	bool Expired(const uint8_t *value) const
	{
		uint64_t deadline;
		memcpy(&deadline, value + offset_, sizeof(deadline));
		return deadline < threshold_;
	}
	int Take(const uint8_t *key, uint8_t *value, bool *taken);

	Fd map_;
	size_t offset_;
	uint64_t threshold_;
	uint32_t limit_;
	MapShape shape_ = {};
	bool atomic_take_ = true; // BPF_MAP_LOOKUP_AND_DELETE_ELEM, for hashes since Linux 5.14
	int status_ = 0;
	uint64_t scanned_ = 0;
	uint32_t count_ = 0;
	std::vector<uint8_t> keys_, values_;
};

// Reads the entry again and deletes it if it is still expired. A packet may renew it at any moment: taking it
// out in one step shows whether that happened, and then it is put back.
int SweepJob::Take(const uint8_t *key, uint8_t *value, bool *taken)
{
	*taken = false;
	if (bpf_map_lookup_elem(map_.Get(), key, value) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!Expired(value))
		return 0;
	if (atomic_take_) {
		if (bpf_map_lookup_and_delete_elem(map_.Get(), key, value) == 0) {
			*taken = Expired(value) || bpf_map_update_elem(map_.Get(), key, value, BPF_NOEXIST) <
							   0; // a packet made a new one
			return 0;
		}
		if (errno == ENOENT)
			return 0;
		atomic_take_ = false;
	}
	if (bpf_map_delete_elem(map_.Get(), key) < 0)
		return errno == ENOENT ? 0 : -errno;
	*taken = true;
	return 0;
}

void SweepJob::Run()
{
	status_ = map_.Ok() ? MapShape::Of(map_.Get(), &shape_) : -EBADF;
	if (!status_ && (shape_.per_cpu || offset_ + sizeof(uint64_t) > shape_.value_size))
		status_ = -EINVAL;
	if (status_)
		return;
	std::vector<uint8_t> expired; // keys; deleting while walking would lose the place in some maps
	uint32_t found = 0;
	status_ = WalkMap(map_.Get(), shape_, [&](const uint8_t *key, const uint8_t *value) {
		scanned_++;
		if (!Expired(value))
			return true;
		expired.insert(expired.end(), key, key + shape_.key_size);
		return ++found < limit_;
	});
	std::vector<uint8_t> value(shape_.value_bytes);
	for (uint32_t i = 0; i < found; i++) {
		const uint8_t *key = &expired[(size_t)i * shape_.key_size];
		bool taken;
		int error = Take(key, value.data(), &taken);
		if (error) {
			status_ = error;
			continue; // what is deleted must be returned, also when something else fails
		}
		if (!taken)
			continue;
		keys_.insert(keys_.end(), key, key + shape_.key_size);
		values_.insert(values_.end(), value.begin(), value.end());
		count_++;
	}
}

Napi::Value SweepJob::Result(Napi::Env env)
{
	if (status_ &&
	    count_ == 0) // else what was deleted is told, and the failure when the next sweep meets it again
		return Status(env, status_);
	Napi::Object out = Napi::Object::New(env);
	out.Set("keys", CopyBytes(env, keys_.data(), keys_.size()));
	out.Set("values", CopyBytes(env, values_.data(), values_.size()));
	out.Set("count", Napi::Number::New(env, count_));
	out.Set("scanned", Napi::Number::New(env, (double)scanned_));
	return out;
}

// (fd, value offset, threshold, limit) -> promise of { keys, values, count, scanned } or of -errno
static Napi::Value Sweep(const Napi::CallbackInfo &info)
{
	return SubmitJob(info.Env(), std::make_unique<SweepJob>(ReadFd(info[0]), ReadUint32(info[1]),
								ReadUint64(info[2]), ReadUint32(info[3])));
}

void RegisterSweep(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "mapSweep", Sweep);
}
