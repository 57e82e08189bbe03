// SPDX-License-Identifier: Apache-2.0
// Reads a BPF ring buffer on a thread of its own and hands batches to JS.
//
//	kernel ring --(ring thread)--> queue of batches, bounded --(one call per batch)--> JS callback
//
// The queue is the only place where a record can be lost here, and each such loss is counted and told with
// the next batch. What the kernel's ring itself had no room for is counted by the BPF program.
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <bpf/libbpf.h>

#include "addon.h"
#include "fd.h"
#include "map_shape.h"
#include "value.h"

using Clock = std::chrono::steady_clock;

// After reading, the thread rests: while it lags behind, the kernel wakes nobody, which a busy datapath would
// pay for.
static constexpr int kRestMs = 1;
// Looks at the ring at least this often unless told to look more often: records may be sent with
// BPF_RB_NO_WAKEUP.
static constexpr int kLeastPollMs = 10;

struct RingLimits {
	uint32_t record_size;
	uint32_t queued_records;
	uint32_t batch_records;
	uint32_t delay_ms;
};

struct FreeRing {
	void operator()(struct ring_buffer *ring) const
	{
		ring_buffer__free(ring);
	}
};

class RingConsumer : public std::enable_shared_from_this<RingConsumer>
{
      public:
	explicit RingConsumer(const RingLimits &limits) : limits_(limits)
	{
	}
	int Open(int map_fd);
	void Start(Napi::Env env, Napi::Function on_batch);
	Napi::Value Stop(Napi::Env env);
	Napi::Value Stats(Napi::Env env);

      private:
	struct Batch {
		std::vector<uint8_t> records;
		uint32_t count = 0;
	};
	using Self = std::shared_ptr<RingConsumer>;

	static int OnRecord(void *consumer, void *data, size_t size);
	static void OnAnnounced(Napi::Env env, Napi::Function on_batch, Self *self);
	static void OnEnvironmentEnd(void *consumer);
	int Accept(const void *data, size_t size);
	void Loop();
	int WaitMs();
	bool IsDue();
	void Announce();
	bool Deliver(Napi::Env env, Napi::Function on_batch);
	void Join();

	const RingLimits limits_;
	Fd map_, stop_, epoll_;
	std::unique_ptr<struct ring_buffer, FreeRing> ring_;
	std::thread thread_;
	std::atomic<bool> stopping_{false};
	Napi::ThreadSafeFunction to_js_;
	Napi::FunctionReference on_batch_; // JS thread only
	Self keep_;			   // until stopped, whether or not JS still holds the handle

	std::mutex mutex_; // guards what follows
	std::deque<Batch> queue_;
	uint32_t queued_ = 0;
	Clock::time_point oldest_;
	bool announced_ = false; // JS has been called and will empty the queue
	uint32_t dropped_ = 0;	 // since the last batch
	uint64_t received_ = 0, dropped_total_ = 0, bad_size_ = 0;
};

// JS thread.
int RingConsumer::Open(int map_fd)
{
	map_ = Fd::Duplicate(map_fd);
	stop_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
	if (!map_.Ok() || !stop_.Ok() || !epoll_.Ok())
		return -errno;
	ring_.reset(ring_buffer__new(map_.Get(), OnRecord, this, nullptr));
	if (!ring_)
		return -errno;
	for (int fd : {stop_.Get(), ring_buffer__epoll_fd(ring_.get())}) {
		struct epoll_event event = {};
		event.events = EPOLLIN;
		if (epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, fd, &event) < 0)
			return -errno;
	}
	return 0;
}

// JS thread.
void RingConsumer::Start(Napi::Env env, Napi::Function on_batch)
{
	on_batch_ = Napi::Persistent(on_batch);
	to_js_ = Napi::ThreadSafeFunction::New(env, on_batch, "weir ring", 0, 1);
	to_js_.Unref(env);
	keep_ = shared_from_this();
	napi_add_env_cleanup_hook(env, OnEnvironmentEnd, this);
	thread_ = std::thread([this] { Loop(); });
}

// Ring thread, from here ...
void RingConsumer::Loop()
{
	pthread_setname_np(pthread_self(), "weir-ring");
	while (!stopping_) {
		struct epoll_event events[2];
		epoll_wait(epoll_.Get(), events, 2, WaitMs());
		if (stopping_)
			break;
		int read = ring_buffer__consume(ring_.get());
		if (IsDue())
			Announce();
		if (read > 0 && limits_.delay_ms > 0) {
			struct pollfd stop = {stop_.Get(), POLLIN, 0};
			poll(&stop, 1, kRestMs);
		}
	}
}

int RingConsumer::WaitMs()
{
	std::lock_guard<std::mutex> lock(mutex_);
	int idle = std::max<int>(limits_.delay_ms, kLeastPollMs);
	if (queued_ == 0 || announced_)
		return idle;
	auto age = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - oldest_).count();
	return std::max<int>(0, (int)limits_.delay_ms - (int)age);
}

int RingConsumer::OnRecord(void *consumer, void *data, size_t size)
{
	RingConsumer *self = static_cast<RingConsumer *>(consumer);
	return self->stopping_ ? -ECANCELED : self->Accept(data, size);
}

int RingConsumer::Accept(const void *data, size_t size)
{
	bool full_batch;
	{
		std::lock_guard<std::mutex> lock(mutex_);
		if (size != limits_.record_size) {
			bad_size_++;
			return 0;
		}
		received_++;
		if (queued_ >= limits_.queued_records) {
			dropped_++;
			dropped_total_++;
			return 0;
		}
		if (queued_++ == 0)
			oldest_ = Clock::now();
		if (queue_.empty() || queue_.back().count == limits_.batch_records)
			queue_.emplace_back();
		Batch &batch = queue_.back();
		const uint8_t *bytes = static_cast<const uint8_t *>(data);
		batch.records.insert(batch.records.end(), bytes, bytes + size);
		batch.count++;
		full_batch = !announced_ && queued_ >= limits_.batch_records;
	}
	if (full_batch)
		Announce();
	return 0;
}

bool RingConsumer::IsDue()
{
	std::lock_guard<std::mutex> lock(mutex_);
	return queued_ > 0 && !announced_ &&
	       Clock::now() - oldest_ >= std::chrono::milliseconds(limits_.delay_ms);
}

void RingConsumer::Announce()
{
	{
		std::lock_guard<std::mutex> lock(mutex_);
		announced_ = true;
	}
	Self *self = new Self(shared_from_this());
	if (to_js_.NonBlockingCall(self, OnAnnounced) != napi_ok)
		delete self; // the environment is ending
}
// ... to here.

// JS thread. One batch per turn of the event loop, and on until the queue is empty.
void RingConsumer::OnAnnounced(Napi::Env env, Napi::Function on_batch, Self *self)
{
	std::unique_ptr<Self> owned(self);
	RingConsumer *consumer = self->get();
	if (!CanRunJs(env) || consumer->stopping_)
		return;
	bool more = consumer->Deliver(env, on_batch);
	if (more && !consumer->stopping_) // JS may have stopped it meanwhile
		consumer->Announce();
}

// JS thread. True when more is waiting. The lock is not held while JS runs.
bool RingConsumer::Deliver(Napi::Env env, Napi::Function on_batch)
{
	Batch batch;
	uint32_t dropped;
	bool more;
	{
		std::lock_guard<std::mutex> lock(mutex_);
		if (!queue_.empty()) {
			batch = std::move(queue_.front());
			queue_.pop_front();
		}
		queued_ -= batch.count;
		dropped = dropped_;
		dropped_ = 0;
		more = announced_ = queued_ > 0;
	}
	if (batch.count || dropped)
		on_batch.Call({CopyBytes(env, batch.records.data(), batch.records.size()),
			       Napi::Number::New(env, batch.count), Napi::Number::New(env, dropped)});
	return more;
}

// JS thread. The thread looks at stopping_ for every record, so this waits milliseconds at most.
void RingConsumer::Join()
{
	stopping_ = true;
	uint64_t one = 1;
	if (write(stop_.Get(), &one, sizeof(one)) < 0) {
		// only when the counter is full: then it is signalled already
	}
	if (thread_.joinable())
		thread_.join();
}

// JS thread: hands over what is queued, then nothing more.
Napi::Value RingConsumer::Stop(Napi::Env env)
{
	if (!keep_)
		return env.Undefined();
	Join();
	napi_remove_env_cleanup_hook(env, OnEnvironmentEnd, this);
	while (Deliver(env, on_batch_.Value()) && !env.IsExceptionPending()) {
	}
	to_js_.Release();
	on_batch_.Reset();
	ring_.reset();
	map_.Reset(-1);
	stop_.Reset(-1);
	epoll_.Reset(-1);
	keep_.reset();
	return env.Undefined();
}

// JS thread, environment ending: JS can no longer be called.
void RingConsumer::OnEnvironmentEnd(void *consumer)
{
	RingConsumer *self = static_cast<RingConsumer *>(consumer);
	self->Join();
	self->on_batch_.SuppressDestruct();
	Self last = std::move(self->keep_);
}

// JS thread.
Napi::Value RingConsumer::Stats(Napi::Env env)
{
	std::lock_guard<std::mutex> lock(mutex_);
	Napi::Object stats = Napi::Object::New(env);
	stats.Set("received", Napi::Number::New(env, (double)received_));
	stats.Set("queuedDropped", Napi::Number::New(env, (double)dropped_total_));
	stats.Set("badSize", Napi::Number::New(env, (double)bad_size_));
	return stats;
}

// (map fd, record size, queued records, batch records, delay ms, on batch) -> { stop(), stats() } or -errno
static Napi::Value OpenRing(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	RingLimits limits = {ReadUint32(info[1]), ReadUint32(info[2]), ReadUint32(info[3]),
			     ReadUint32(info[4])};
	MapShape shape;
	int error = MapShape::Of(ReadFd(info[0]), &shape);
	if (error)
		return Status(env, error);
	if (shape.type != BPF_MAP_TYPE_RINGBUF || !limits.record_size || !limits.queued_records ||
	    !limits.batch_records || !info[5].IsFunction())
		return Status(env, -EINVAL);
	auto consumer = std::make_shared<RingConsumer>(limits);
	error = consumer->Open(ReadFd(info[0]));
	if (error)
		return Status(env, error);
	consumer->Start(env, info[5].As<Napi::Function>());
	Napi::Object handle = Napi::Object::New(env);
	handle.Set("stop", Napi::Function::New(env, [consumer](const Napi::CallbackInfo &info) {
			   return consumer->Stop(info.Env());
		   }));
	handle.Set("stats", Napi::Function::New(env, [consumer](const Napi::CallbackInfo &info) {
			   return consumer->Stats(info.Env());
		   }));
	return handle;
}

void RegisterRing(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "openRing", OpenRing);
}
