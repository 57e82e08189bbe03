// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <napi.h>

// Something that is done away from the JS thread and settles a promise.
class Job
{
      public:
	virtual ~Job() = default;
	// On a worker thread. Must leave the thread in the namespace it found it in.
	virtual void Run() = 0;
	// On the JS thread, afterwards: what the promise resolves to. It never rejects; failure is in the
	// result.
	virtual Napi::Value Result(Napi::Env env) = 0;
};

// Threads of our own, because they enter namespaces: a thread of Node's pool that stayed in one would run
// other people's code there. Three: one may sweep a map and one list routes while the third wires a pod.
class WorkerPool
{
      public:
	explicit WorkerPool(Napi::Env env);
	// JS thread.
	Napi::Promise Submit(Napi::Env env, std::unique_ptr<Job> job);
	// JS thread, when the environment ends: waits for the jobs that run, drops those that wait.
	void Stop();

      private:
	struct Entry;
	static void Settle(Napi::Env env, Napi::Function, Entry *entry);
	void Loop();

	Napi::ThreadSafeFunction to_js_;
	size_t unsettled_ = 0; // JS thread only; keeps Node alive while > 0
	std::vector<std::thread> threads_;
	std::mutex mutex_; // guards what follows
	std::condition_variable wake_;
	std::deque<Entry *> queue_;
	bool stopping_ = false;
};

// The pool of this environment; its threads start with the first job.
Napi::Promise SubmitJob(Napi::Env env, std::unique_ptr<Job> job);
