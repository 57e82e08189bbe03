// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Sockets of the node's own processes, and of pods in its network: a virtual address becomes a backend when the socket
 * connects, or when a datagram is sent, and is what the process sees afterwards. Nothing is left to do per packet.
 *
 * Attached to a cgroup, whose processes may be in many network namespaces: only the node's own counts. Pods' packets
 * are translated by from_pod, where flows show what was asked for and datagrams leave a backend that has gone.
 *
 * A program here may be preempted by another socket's, hence no scratch per CPU. */
#include <linux/types.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include "lib/service.h"

#define ECONNREFUSED 111
#define PASS         1
#define REFUSE       0

const volatile __u64 config_node_netns = 0;      /* cookie of the node's network namespace; 0: the machine's first */
const volatile __u32 config_refuses_by_name = 0; /* the kernel has bpf_set_retval (Linux 5.18); else it is EPERM */

/* LRU: a socket that is forgotten sees its backend. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct socket_peer_key);
	__type(value, struct backend);
	__uint(max_entries, SOCKET_PEERS_MAX);
} socket_peers SEC(".maps");

static __always_inline bool is_ours(struct bpf_sock_addr *ctx)
{
	__u64 node = config_node_netns ? config_node_netns : bpf_get_netns_cookie(NULL);

	return (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_UDP) && bpf_get_netns_cookie(ctx) == node;
}

static __always_inline __be16 port_of(const struct bpf_sock_addr *ctx)
{
	return (__be16)ctx->user_port;
}

/* ---- the address in the context, of either family ---- */

static __always_inline bool is_mapped(struct bpf_sock_addr *ctx)
{
	return !ctx->user_ip6[0] && !ctx->user_ip6[1] && ctx->user_ip6[2] == bpf_htonl(0xffff);
}

/* `place`: FAMILY_IPV6 where the context is that of an AF_INET6 socket; then an IPv4 address may be mapped into it. */
static __always_inline void read_address(struct bpf_sock_addr *ctx, const enum family place, struct ip_address *address,
					 __u8 *family)
{
	__u32 *words = (__u32 *)address->bytes;

	*family = FAMILY_IPV4;
	if (place == FAMILY_IPV4) {
		words[0] = ctx->user_ip4;
	} else if (is_mapped(ctx)) {
		words[0] = ctx->user_ip6[3];
	} else {
		*family = FAMILY_IPV6;
		words[0] = ctx->user_ip6[0];
		words[1] = ctx->user_ip6[1];
		words[2] = ctx->user_ip6[2];
		words[3] = ctx->user_ip6[3];
	}
}

static __always_inline void write_address(struct bpf_sock_addr *ctx, const enum family place,
					  const struct ip_address *address, __u8 family, __be16 port)
{
	const __u32 *words = (const __u32 *)address->bytes;

	if (place == FAMILY_IPV4) {
		ctx->user_ip4 = words[0];
	} else if (family == FAMILY_IPV4) {
		ctx->user_ip6[3] = words[0];
	} else {
		ctx->user_ip6[0] = words[0];
		ctx->user_ip6[1] = words[1];
		ctx->user_ip6[2] = words[2];
		ctx->user_ip6[3] = words[3];
	}
	ctx->user_port = port;
}

/* ---- there ---- */

static __always_inline int refuse(void)
{
	if (config_refuses_by_name)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* The address the process asks for becomes a backend's. */
static __always_inline int to_backend(struct bpf_sock_addr *ctx, const enum family place)
{
	struct socket_peer_key peer = {};
	struct backend asked = {};
	struct choice choice = {};
	struct service service = {};
	__u64 now;

	if (!is_ours(ctx))
		return PASS;
	read_address(ctx, place, &asked.address, &asked.family);
	asked.port = port_of(ctx);
	choice.asker.service.address = asked.address;
	choice.asker.service.port = asked.port;
	choice.asker.service.protocol = ctx->protocol;
	choice.asker.service.family = asked.family;
	if (!is_virtual(&choice.asker.service))
		return PASS;
	if (!take_service(&choice.asker.service, &service) || !service.count)
		return refuse();
	now = bpf_jiffies64();
	peer.cookie = bpf_get_socket_cookie(ctx);
	if (!recall_affinity(&choice, &service, now) &&
	    !take_slot(&choice, &service, mix_address(mix(peer.cookie, asked.port), &asked.address) % service.count))
		return refuse();
	remember_affinity(&choice, &service, now);
	peer.backend = choice.backend;
	bpf_map_update_elem(&socket_peers, &peer, &asked, BPF_ANY);
	write_address(ctx, place, &choice.backend.address, asked.family, choice.backend.port);
	return PASS;
}

/* ---- and back ---- */

/* The backend's address becomes the one the socket has asked for. */
static __always_inline int to_asked(struct bpf_sock_addr *ctx, const enum family place)
{
	struct socket_peer_key peer = {};
	struct backend *asked;

	if (!is_ours(ctx))
		return PASS;
	peer.cookie = bpf_get_socket_cookie(ctx);
	read_address(ctx, place, &peer.backend.address, &peer.backend.family);
	peer.backend.port = port_of(ctx);
	asked = bpf_map_lookup_elem(&socket_peers, &peer);
	if (asked)
		write_address(ctx, place, &asked->address, peer.backend.family, asked->port);
	return PASS;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return to_backend(ctx, FAMILY_IPV4);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return to_backend(ctx, FAMILY_IPV6);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return to_backend(ctx, FAMILY_IPV4);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return to_backend(ctx, FAMILY_IPV6);
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return to_asked(ctx, FAMILY_IPV4);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return to_asked(ctx, FAMILY_IPV6);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return to_asked(ctx, FAMILY_IPV4);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return to_asked(ctx, FAMILY_IPV6);
}

char _license[] SEC("license") = "Dual BSD/GPL";
