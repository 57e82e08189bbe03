// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <pthread.h>

#include "value.h"

static constexpr int kThreads = 3;

struct WorkerPool::Entry {
	WorkerPool *pool;
	std::unique_ptr<Job> job;
	Napi::Promise::Deferred deferred;
};

WorkerPool::WorkerPool(Napi::Env env)
{
	Napi::Function unused = Napi::Function::New(env, [](const Napi::CallbackInfo &) {});
	to_js_ = Napi::ThreadSafeFunction::New(env, unused, "weir worker", 0, 1);
	to_js_.Unref(env);
}

Napi::Promise WorkerPool::Submit(Napi::Env env, std::unique_ptr<Job> job)
{
	Entry *entry = new Entry{this, std::move(job), Napi::Promise::Deferred::New(env)};
	if (unsettled_++ == 0)
		to_js_.Ref(env);
	Napi::Promise promise = entry->deferred.Promise();
	{
		std::lock_guard<std::mutex> lock(mutex_);
		queue_.push_back(entry);
	}
	if (threads_.empty())
		for (int i = 0; i < kThreads; i++)
			threads_.emplace_back([this] { Loop(); });
	wake_.notify_one();
	return promise;
}

// Worker thread.
void WorkerPool::Loop()
{
	pthread_setname_np(pthread_self(), "weir-worker");
	for (;;) {
		Entry *entry;
		{
			std::unique_lock<std::mutex> lock(mutex_);
			wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
			if (stopping_)
				return;
			entry = queue_.front();
			queue_.pop_front();
		}
		entry->job->Run();
		if (to_js_.NonBlockingCall(entry, Settle) != napi_ok)
			delete entry; // the environment is ending; nobody waits
	}
}

// JS thread.
void WorkerPool::Settle(Napi::Env env, Napi::Function, Entry *entry)
{
	std::unique_ptr<Entry> owned(entry);
	if (!CanRunJs(env))
		return;
	if (--entry->pool->unsettled_ == 0)
		entry->pool->to_js_.Unref(env);
	entry->deferred.Resolve(entry->job->Result(env));
}

void WorkerPool::Stop()
{
	{
		std::lock_guard<std::mutex> lock(mutex_);
		stopping_ = true;
	}
	wake_.notify_all();
	for (std::thread &thread : threads_)
		thread.join();
	threads_.clear();
	for (Entry *entry : queue_)
		delete entry;
	queue_.clear();
}

Napi::Promise SubmitJob(Napi::Env env, std::unique_ptr<Job> job)
{
	WorkerPool *pool = env.GetInstanceData<WorkerPool>();
	if (!pool) {
		pool = new WorkerPool(env);
		env.SetInstanceData(pool); // deleted after the cleanup hooks have run
		env.AddCleanupHook([pool] { pool->Stop(); });
	}
	return pool->Submit(env, std::move(job));
}
