// SPDX-License-Identifier: Apache-2.0
// BPF links of any type, and the types libbpf 1.1 can make. On the JS thread.
#include <linux/if_link.h>

#include <bpf/bpf.h>

#include "addon.h"
#include "fd.h"
#include "value.h"

// struct bpf_link_info of Linux 6.6 as far as it is read: newer than the headers this is built with.
struct LinkInfo {
	uint32_t type;
	uint32_t id;
	uint32_t program_id;
	uint32_t pad;
	union {
		struct {
			uint32_t ifindex;
			uint32_t attach_type; // tcx only
		} device;
		struct {
			uint64_t id;
			uint32_t attach_type;
		} cgroup;
		uint8_t room[64];
	};
};
static_assert(offsetof(LinkInfo, device) == 16, "struct bpf_link_info");

static constexpr uint32_t kLinkCgroup = 3; // BPF_LINK_TYPE_CGROUP
static constexpr uint32_t kLinkXdp = 6;	   // BPF_LINK_TYPE_XDP
static constexpr uint32_t kLinkTcx = 11;   // BPF_LINK_TYPE_TCX

// (link fd) -> { type, id, programId, ifindex, attachType, cgroupId } or -errno
static Napi::Value GetLinkInfo(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	LinkInfo link = {};
	uint32_t size = sizeof(link);
	if (bpf_obj_get_info_by_fd(ReadFd(info[0]), &link, &size) < 0)
		return Status(env, -errno);
	bool device = link.type == kLinkTcx || link.type == kLinkXdp;
	bool cgroup = link.type == kLinkCgroup;
	uint32_t attach_type = link.type == kLinkTcx   ? link.device.attach_type
			       : cgroup		       ? link.cgroup.attach_type
			       : link.type == kLinkXdp ? (uint32_t)BPF_XDP
						       : 0;
	Napi::Object out = Napi::Object::New(env);
	out.Set("type", Napi::Number::New(env, link.type));
	out.Set("id", Napi::Number::New(env, link.id));
	out.Set("programId", Napi::Number::New(env, link.program_id));
	out.Set("ifindex", Napi::Number::New(env, device ? link.device.ifindex : 0));
	out.Set("attachType", Napi::Number::New(env, attach_type));
	out.Set("cgroupId", Napi::Number::New(env, cgroup ? (double)link.cgroup.id : 0));
	return out;
}

// (link fd, program fd) -> status; ENOLINK when the device or group is gone
static Napi::Value LinkUpdate(const Napi::CallbackInfo &info)
{
	int status = bpf_link_update(ReadFd(info[0]), ReadFd(info[1]), nullptr);
	return Status(info.Env(), status < 0 ? -errno : 0);
}

static Napi::Value LinkDetach(const Napi::CallbackInfo &info)
{
	return Status(info.Env(), bpf_link_detach(ReadFd(info[0])) < 0 ? -errno : 0);
}

// (program fd, ifindex, generic) -> link fd or -errno
static Napi::Value AttachXdp(const Napi::CallbackInfo &info)
{
	LIBBPF_OPTS(bpf_link_create_opts, options);
	bool generic = info[2].IsBoolean() && info[2].As<Napi::Boolean>().Value();
	options.flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	int fd = bpf_link_create(ReadFd(info[0]), ReadFd(info[1]), BPF_XDP, &options);
	return Status(info.Env(), fd < 0 ? -errno : fd);
}

// (program fd, cgroup path, attach type) -> link fd or -errno
static Napi::Value AttachCgroup(const Napi::CallbackInfo &info)
{
	Fd group(open(ReadString(info[1]).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!group.Ok())
		return Status(info.Env(), -errno);
	LIBBPF_OPTS(bpf_link_create_opts, options);
	int fd = bpf_link_create(ReadFd(info[0]), group.Get(), (enum bpf_attach_type)ReadUint32(info[2]),
				 &options);
	return Status(info.Env(), fd < 0 ? -errno : fd);
}

void RegisterLink(Napi::Env env, Napi::Object exports)
{
	Export(env, exports, "linkInfo", GetLinkInfo);
	Export(env, exports, "linkUpdate", LinkUpdate);
	Export(env, exports, "linkDetach", LinkDetach);
	Export(env, exports, "attachXdp", AttachXdp);
	Export(env, exports, "attachCgroup", AttachCgroup);
}
