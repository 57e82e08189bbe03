/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One packet on its way through a program: what was read from it, and what was found out about it.
 *
 * It lives in a per-CPU map rather than on the stack: the stack is 512 bytes for all frames together, and stack slots
 * cannot be indexed by a variable before Linux 5.12. A program has its CPU to itself until it returns. */
#pragma once
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "config.h"
#include "maps.h"

#define __force_inline static __always_inline
/* Verified once per call, compiled once: for what established packets do not pay. */
#define __slow static __noinline
/* The same, and verified on its own, once: such a function takes scalars and the context only (Linux 5.6), and finds
 * the passage by itself. For what is called from many places. */
#define __apart __noinline

/* Linux' own number for "not my business, next program": also what a classifier on clsact passes with. */
#define TCX_NEXT     (-1)
#define TCX_DROP     2
#define TCX_REDIRECT 7

/* What a step answers: 0 go on, negative a drop reason, positive the end of the way. */
enum outcome {
	OUTCOME_GO_ON = 0,
	OUTCOME_STACK = 1,   /* to the node's stack, or from it to the pod */
	OUTCOME_DELIVER = 2, /* into a pod of this node, past the stack */
	OUTCOME_ANSWER = 3,  /* turned into the answer, back to the sender */
	OUTCOME_CONSUME = 4, /* swallowed by design: neither forwarded nor a drop */
};

/* Which part of a datagram the packet is. */
enum fragment_part {
	FRAGMENT_WHOLE = 0,
	FRAGMENT_FIRST = 1, /* has the transport header */
	FRAGMENT_LATER = 2, /* takes its ports from the first */
};

/* How the packet relates to connections. */
enum conversation {
	CONVERSATION_TRACKED = 0,   /* has an entry, or makes one */
	CONVERSATION_UNTRACKED = 1, /* judged by itself: ICMP that is neither echo nor error */
	CONVERSATION_QUOTING = 2,   /* an ICMP error: belongs to the connection it quotes */
};

/* As in the packet: network order, direction of travel. */
struct tuple {
	struct ip_address source __attribute__((aligned(8)));
	struct ip_address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};

union conntrack_key {
	struct conntrack_key4 ipv4;
	struct conntrack_key6 ipv6;
};

/* One end of the connection, as policy sees it. */
struct party {
	__u32 identity;
	__u32 endpoint;    /* index of the pod on this node, 0 = elsewhere */
	__u32 policy;      /* of that pod */
	__u32 kind;        /* enum peer_kind */
	__u32 node;        /* whose tunnel leads there, 0 = none */
	__u32 aggregation; /* of that pod, enum aggregation */
};

/* Index of `party`. */
enum end {
	END_SOURCE = 0,
	END_DESTINATION = 1,
	END_COUNT = 2,
};

struct passage {
	struct tuple tuple;
	union conntrack_key key __attribute__((aligned(8)));
	__u64 now;    /* jiffies */
	__u32 epoch;  /* read before anything else */
	__u32 own;    /* index of the pod this program runs for */
	__u32 target; /* index of the destination pod on this node, 0 = it goes elsewhere */
	__u32 node;   /* where the tunnel leads to the destination: number of its node, 0 = no tunnel does */
	/* from_tunnel: number of the node the packet came from, and what its tunnel key says of the sender (0: a node)
	 */
	__u32 source_node;
	__u32 claimed_identity;
	__u32 length; /* IP bytes */
	__be32 fragment_id;
	__u16 fragment_offset; /* bytes */
	__u16 transport;       /* offset of the transport header in the frame */
	__u8 family;
	__u8 direction;     /* of the program */
	__u8 decided;       /* enum direction: whose policy had the last word */
	__u8 fragment;      /* enum fragment_part */
	__u8 conversation;  /* enum conversation */
	__u8 sender;        /* enum side: who sent this packet */
	__u8 source_is_low; /* in `key` */
	__u8 reason;        /* enum drop_reason */
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 no_payload;  /* TCP: nothing behind the header */
	__u8 masquerade;  /* leaves the cluster, by a connection that a pod has opened */
	__u8 by_stack;    /* from_pod: the node's stack translates it back */
	__u8 masked;      /* to_pod: with an address of the node, which is not who sends it */
	__u8 translation; /* enum translation */
	__u8 refused;     /* a drop the sender is told of: a Service that has nobody */
	/* a bit per enum direction */
	__u8 was_allowed;      /* judging again: established, and allowed there before */
	__u8 kept;             /* and allowed still, for no other reason */
	__u32 audit;           /* enum audit_result */
	__u32 audit_direction; /* enum direction: whose audited policy disagrees */
	struct party party[END_COUNT];
	/* by enum direction: the policy that judged and the rule that decided */
	__u32 policy[DIRECTION_COUNT];
	__u32 rule[DIRECTION_COUNT];
	__u32 audit_rule[DIRECTION_COUNT];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct passage);
	__uint(max_entries, 1);
} passages SEC(".maps");

__force_inline struct passage *this_passage(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&passages, &zero);
}

__force_inline struct node_state *this_node(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node_state, &zero);
}

/* The end of the connection a side is at: the sender is where the packet comes from. */
__force_inline __u32 end_of(const struct passage *p, __u32 side)
{
	return (side ^ p->sender) & 1;
}

__force_inline __u64 seconds(__u64 count)
{
	return count * config_hz;
}

__force_inline __be32 ipv4_of(const struct ip_address *address)
{
	return *(const __be32 *)address->bytes;
}

/* Which half of an IPv6 address: 0 or 1. */
__force_inline __be64 ipv6_half(const void *address, int half)
{
	return ((const __be64 *)address)[half];
}

/* The same for addresses that may stand at any multiple of four, as in packets and in struct endpoint. */
__force_inline bool same_ipv6(const void *left, const void *right)
{
	const __u32 *a = left, *b = right;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

__force_inline bool is_zero_ipv6(const void *address)
{
	const __u32 *a = address;

	return !(a[0] | a[1] | a[2] | a[3]);
}

/* Has the pod this address? The zero of "no address" is nobody's. */
__force_inline bool owns_address(const struct endpoint *pod, const struct ip_address *address, const enum family family)
{
	if (family == FAMILY_IPV4)
		return pod->ipv4 && pod->ipv4 == ipv4_of(address);
	return !is_zero_ipv6(pod->ipv6) && same_ipv6(pod->ipv6, address->bytes);
}

/* Slot 0 is not a pod: 0 means "elsewhere" wherever an index stands. */
__force_inline struct endpoint *find_endpoint(__u32 index)
{
	struct endpoint *pod;

	if (!index)
		return NULL;
	pod = bpf_map_lookup_elem(&endpoints, &index);
	return pod && pod->ifindex ? pod : NULL;
}
