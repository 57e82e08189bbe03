/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services: virtual addresses and the backends they stand for. Written by the agent (agent/datapath/plan/plan.ts), read
 * by from_pod for the first packet of a connection and by the socket programs at connect time.
 *
 * Slots are numbered 0 to count - 1 under an id that is never used again, so that a changed set of backends is written
 * beside the old one and switched by one write to `services`: nobody sees half of either. NodePort, external and
 * load-balancer addresses fit as further keys that lead to the same slots. */
#pragma once
#include "types.h"

enum service_limits {
	SERVICES_MAX = 1 << 17,
	SERVICE_BACKENDS_MAX = 1 << 18,
	SERVICE_AFFINITIES_MAX = 1 << 14,
	SOCKET_PEERS_MAX = 1 << 14,
};

/* Source of a packet that goes from a pod through a Service to itself: its own address would be refused there. Neither
 * leaves the pod's veth: 169.254.42.1, and an address of the discard-only prefix (RFC 6666). */
enum hairpin {
	HAIRPIN_IPV4 = 0xa9fe2a01, /* 169.254.42.1, host order */
};
/* Read from its line by bpf/gen. */
/* clang-format off */
#define HAIRPIN_IPV6 { 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x42, 0, 1 } /* 100::42:1 */
/* clang-format on */

/* Port 0 and protocol 0: the address itself, so that one lookup tells that a packet is to no Service. */
struct service_key {
	struct ip_address address;
	__be16 port;
	__u8 protocol __doc("IPPROTO_TCP or IPPROTO_UDP");
	__u8 family;
};
_Static_assert(sizeof(struct service_key) == 20, "abi");

struct service {
	__u32 slots __doc("id of its slots; 0 where `count` is 0");
	__u32 count __doc("slots; 0: connections are refused at once");
	__u32 affinity_seconds
		__doc("a client keeps its backend for so long after its last connection; 0: no affinity");
	__u32 flags __doc("reserved, 0");
};
_Static_assert(sizeof(struct service) == 16, "abi");

struct backend {
	struct ip_address address;
	__be16 port;
	__u8 family;
	__u8 pad;
};
_Static_assert(sizeof(struct backend) == 20, "abi");

struct service_slot_key {
	__u32 slots;
	__u32 index;
};

/* Is the backend still one of them? Asked where a choice made earlier is kept. */
struct service_member_key {
	__u32 slots;
	struct backend backend;
};
_Static_assert(sizeof(struct service_member_key) == 24, "abi");

struct service_affinity_key {
	struct ip_address client __doc("zeros: the node's own processes");
	struct service_key service;
};
_Static_assert(sizeof(struct service_affinity_key) == 36, "abi");

struct service_affinity {
	__u64 expires __doc("jiffies");
	struct backend backend;
	__u32 pad;
};
_Static_assert(sizeof(struct service_affinity) == 32, "abi");

/* What a socket asked for, by whom it got instead: for getpeername and recvmsg. */
struct socket_peer_key {
	__u64 cookie __doc("of the socket");
	struct backend backend;
	__u32 pad;
};
_Static_assert(sizeof(struct socket_peer_key) == 32, "abi");
