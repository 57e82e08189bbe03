// SPDX-License-Identifier: Apache-2.0
// A sequence of netlink requests and sysctl accesses in one namespace, in one hop to a worker thread. The
// messages are composed and read in TypeScript (native/netlink/); here they are bytes with a netlink header.
#include <algorithm>

#include <sys/socket.h>

#include <linux/netlink.h>

#include "addon.h"
#include "netlink_socket.h"
#include "netns.h"
#include "value.h"
#include "worker.h"

enum class StepKind { kRequest = 0, kDump = 1, kSysctlRead = 2, kSysctlWrite = 3 };

struct Step {
	StepKind kind;
	int protocol; // of netlink: 0 is NETLINK_ROUTE
	std::vector<uint8_t> message;
	std::string path;
	std::string value;
	std::vector<int> accepted; // errnos that are answers, not failures
	int status = 0;
	NetlinkReply reply;
};

static int ReadSysctl(const std::string &path, std::string *value)
{
	Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
	if (!fd.Ok())
		return -errno;
	char buffer[4096];
	ssize_t size = read(fd.Get(), buffer, sizeof(buffer));
	if (size < 0)
		return -errno;
	value->assign(buffer, size);
	return 0;
}

static int WriteSysctl(const std::string &path, const std::string &value)
{
	Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
	if (!fd.Ok())
		return -errno;
	ssize_t size = write(fd.Get(), value.data(), value.size());
	if (size < 0)
		return -errno;
	return (size_t)size == value.size() ? 0 : -EIO;
}

static int Ask(NetlinkSocket *socket, Step *step)
{
	if (!socket->IsOpen()) {
		int error = socket->Open(step->protocol);
		if (error)
			return error;
	}
	if (step->kind == StepKind::kDump)
		return socket->Dump(step->message, &step->reply);
	return socket->Request(step->message, &step->reply);
}

// `route`: kept from step to step. What is asked of others is too rare for that.
static int RunStep(NetlinkSocket *route, Step *step)
{
	// proc resolves net/ by the namespace of the thread that opens the file.
	if (step->kind == StepKind::kSysctlRead)
		return ReadSysctl(step->path, &step->value);
	if (step->kind == StepKind::kSysctlWrite)
		return WriteSysctl(step->path, step->value);
	if (step->protocol == NETLINK_ROUTE)
		return Ask(route, step);
	NetlinkSocket other;
	return Ask(&other, step);
}

// How many steps were done. The last of them has a status that was not accepted, if there was a failure.
static size_t RunSteps(NetlinkSocket *socket, std::vector<Step> *steps)
{
	for (size_t i = 0; i < steps->size(); i++) {
		Step &step = (*steps)[i];
		step.status = RunStep(socket, &step);
		if (step.status == -ETIMEDOUT || step.status == -ENOBUFS || step.status == -EMSGSIZE)
			*socket = NetlinkSocket(); // late answers must not meet the next request
		if (step.status && std::find(step.accepted.begin(), step.accepted.end(), -step.status) ==
					   step.accepted.end())
			return i + 1;
	}
	return steps->size();
}

static std::vector<Step> ReadSteps(const Napi::Value &value)
{
	std::vector<Step> steps;
	if (!value.IsArray())
		return steps;
	Napi::Array array = value.As<Napi::Array>();
	for (uint32_t i = 0; i < array.Length(); i++) {
		Napi::Object from = array.Get(i).As<Napi::Object>();
		Step step;
		step.kind = (StepKind)ReadUint32(from.Get("kind"));
		step.protocol = ReadUint32(from.Get("protocol"));
		Bytes message;
		if (ReadBytes(from.Get("message"), &message))
			step.message.assign(message.data, message.data + message.size);
		step.path = ReadString(from.Get("path"));
		step.value = ReadString(from.Get("value"));
		Napi::Value accepted = from.Get("accepted");
		if (accepted.IsArray())
			for (uint32_t j = 0; j < accepted.As<Napi::Array>().Length(); j++)
				step.accepted.push_back(ReadUint32(accepted.As<Napi::Array>().Get(j)));
		steps.push_back(std::move(step));
	}
	return steps;
}

// [{ status, messages, value, text }, ...] of the steps that were done
static Napi::Value Answers(Napi::Env env, const std::vector<Step> &steps, size_t done)
{
	Napi::Array answers = Napi::Array::New(env, done);
	for (size_t i = 0; i < done; i++) {
		const Step &step = steps[i];
		Napi::Object answer = Napi::Object::New(env);
		answer.Set("status", Napi::Number::New(env, step.status));
		answer.Set("messages",
			   CopyBytes(env, step.reply.messages.data(), step.reply.messages.size()));
		answer.Set("value",
			   Napi::String::New(env, step.kind == StepKind::kSysctlRead ? step.value : ""));
		answer.Set("text", Napi::String::New(env, step.reply.text));
		answers.Set(i, answer);
	}
	return answers;
}

class ExchangeJob : public Job
{
      public:
	ExchangeJob(std::string netns, std::vector<Step> steps)
	    : netns_(std::move(netns)), steps_(std::move(steps))
	{
	}

	void Run() override
	{
		static thread_local NetlinkSocket home;
		if (netns_.empty()) {
			done_ = RunSteps(&home, &steps_);
			return;
		}
		NamespaceVisit visit;
		NetlinkSocket socket;
		entered_ = visit.Enter(netns_);
		if (entered_ == 0)
			done_ = RunSteps(&socket, &steps_);
	}

	Napi::Value Result(Napi::Env env) override
	{
		return entered_ ? Status(env, entered_) : Answers(env, steps_, done_);
	}

      private:
	std::string netns_;
	std::vector<Step> steps_;
	int entered_ = 0;
	size_t done_ = 0;
};

// (netns path or "", steps) -> promise of the answers, or of -errno when the namespace cannot be entered
static Napi::Value Exchange(const Napi::CallbackInfo &info)
{
	return SubmitJob(info.Env(), std::make_unique<ExchangeJob>(ReadString(info[0]), ReadSteps(info[1])));
}

// (steps) -> answers. In the agent's own namespace, on the JS thread: for the few calls that must not wait
// their turn.
static Napi::Value ExchangeNow(const Napi::CallbackInfo &info)
{
	std::vector<Step> steps = ReadSteps(info[0]);
	NetlinkSocket socket;
	size_t done = RunSteps(&socket, &steps);
	return Answers(info.Env(), steps, done);
}

void RegisterExchange(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "exchange", Exchange);
	Export(env, exports, "exchangeNow", ExchangeNow);
}
