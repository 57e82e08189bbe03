// SPDX-License-Identifier: Apache-2.0
// tcx (Linux 6.6), which libbpf 1.1 does not know: bpf(2) with the layout of <linux/bpf.h> of v6.6, union
// bpf_attr. Everything about tcx that depends on that layout is in this file. On the JS thread.
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include <linux/bpf.h>

#include "addon.h"
#include "value.h"

static constexpr uint32_t kTcxIngress = 46; // BPF_TCX_INGRESS
static constexpr uint32_t kTcxEgress = 47;  // BPF_TCX_EGRESS
static constexpr uint32_t kBefore = 1 << 3; // BPF_F_BEFORE: without a relative, ahead of all

struct LinkCreateAttr {
	uint32_t prog_fd;
	uint32_t target_ifindex;
	uint32_t attach_type;
	uint32_t flags;
	uint32_t relative_fd;
	uint32_t pad;
	uint64_t expected_revision;
};
static_assert(sizeof(LinkCreateAttr) == 32, "union bpf_attr.link_create");

struct QueryAttr {
	uint32_t target_ifindex;
	uint32_t attach_type;
	uint32_t query_flags;
	uint32_t attach_flags;
	uint64_t prog_ids;
	uint32_t count;
	uint32_t pad;
	uint64_t prog_attach_flags;
	uint64_t link_ids;
	uint64_t link_attach_flags;
	uint64_t revision;
};
static_assert(sizeof(QueryAttr) == 64, "union bpf_attr.query");

static int Bpf(int command, void *attr, size_t size)
{
	return syscall(SYS_bpf, command, attr, size);
}

static uint32_t AttachType(const Napi::Value &egress)
{
	return egress.IsBoolean() && egress.As<Napi::Boolean>().Value() ? kTcxEgress : kTcxIngress;
}

// (program fd, ifindex, egress, head) -> link fd or -errno; EINVAL on kernels before 6.6
static Napi::Value AttachTcx(const Napi::CallbackInfo &info)
{
	bool head = info[3].IsBoolean() && info[3].As<Napi::Boolean>().Value();
	LinkCreateAttr attr = {};
	attr.prog_fd = ReadFd(info[0]);
	attr.target_ifindex = ReadUint32(info[1]);
	attr.attach_type = AttachType(info[2]);
	attr.flags = head ? kBefore : 0;
	int fd = Bpf(BPF_LINK_CREATE, &attr, sizeof(attr)); // the kernel sets O_CLOEXEC
	return Status(info.Env(), fd < 0 ? -errno : fd);
}

// (ifindex, egress) -> [programId, linkId, programId, linkId, ...] in attach order, or -errno
static Napi::Value QueryTcx(const Napi::CallbackInfo &info)
{
	std::vector<uint32_t> programs(64), links(64); // BPF_MPROG_MAX
	QueryAttr attr = {};
	attr.target_ifindex = ReadUint32(info[0]);
	attr.attach_type = AttachType(info[1]);
	attr.prog_ids = (uint64_t)(uintptr_t)programs.data();
	attr.link_ids = (uint64_t)(uintptr_t)links.data();
	attr.count = programs.size();
	if (Bpf(BPF_PROG_QUERY, &attr, sizeof(attr)) < 0)
		return Status(info.Env(), -errno);
	Napi::Array out = Napi::Array::New(info.Env());
	for (uint32_t i = 0; i < attr.count && i < programs.size(); i++) {
		out.Set(2 * i, Napi::Number::New(info.Env(), programs[i]));
		out.Set(2 * i + 1, Napi::Number::New(info.Env(), links[i]));
	}
	return out;
}

void RegisterTcx(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "attachTcx", AttachTcx);
	Export(env, exports, "queryTcx", QueryTcx);
}
