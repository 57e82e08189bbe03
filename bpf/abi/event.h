/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One record per event in the ring buffer `events`; fixed size. Written by the programs (and, for connections that
 * expire, made by the agent from the swept entry), read by agent/flow. */
#pragma once
#include "types.h"

enum event_type {
	EVENT_NEW = 1,    /* a connection was allowed */
	EVENT_REPLY = 2,  /* its first reply */
	EVENT_UPDATE = 3, /* still alive: flags changed or the report interval passed */
	EVENT_END = 4,    /* closed or expired, with totals */
	EVENT_DROP = 5,
	EVENT_AUDIT = 6, /* the verdict would differ if audited policies were enforced */
};

enum event_flags {
	EVENT_IS_REPLY = 1 << 0, /* the packet came from the responder */
	EVENT_REVOKED = 1 << 1,
	EVENT_EXPIRED = 1 << 2,          /* end by timeout, not by close */
	EVENT_AUDIT_WOULD_DENY = 1 << 3, /* EVENT_AUDIT: allowed now, denied if enforced (else the other way round) */
	EVENT_FRAGMENT = 1 << 4,
	EVENT_RELATED = 1 << 5, /* an ICMP error that belongs to a connection */
	EVENT_TO_HOST = 1 << 6, /* handed to the node's stack */
};

/* How much is said of a connection that is allowed. A drop is always an event of its own. */
enum aggregation {
	AGGREGATION_OF_NODE = 0, /* of a pod: as the node's setting says */
	AGGREGATION_NONE = 1,    /* every packet */
	AGGREGATION_LOW = 2,     /* as medium, with every TCP flag that is new, and every second */
	AGGREGATION_MEDIUM = 3,  /* its beginning, first reply, SYN and FIN, a sign of life per interval, its end */
	AGGREGATION_MAXIMUM = 4, /* its beginning and its end */
};

struct flow_event {
	__u64 time __doc("CLOCK_MONOTONIC, ns");
	__u64 created __doc("CLOCK_MONOTONIC, ns: when the connection began; 0 where there is none");
	__u64 packets[2] __doc("connection totals, initiator and responder; a drop counts its one packet in [0]");
	__u64 bytes[2];
	struct ip_address source __doc("of this packet");
	struct ip_address destination;
	__be16 source_port __doc("ICMP echo: see conntrack.h; other ICMP: 0");
	__be16 destination_port;
	__u8 family __doc("enum family; 0 for a frame that is not IP");
	__u8 protocol;
	__u8 type __doc("enum event_type");
	__u8 reason __doc("enum drop_reason");
	__u8 direction __doc("enum direction: where it was decided");
	__u8 tcp_flags __doc("of this packet; end: all seen");
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 flags __doc("enum event_flags");
	__u32 identity[2] __doc("of this packet's source and destination");
	__u32 endpoint[2] __doc("indexes of source and destination pod on this node, 0 = elsewhere");
	__u32 policy[2] __doc("policies that judged: [0] ingress, [1] egress (enum direction)");
	__u32 rule[2] __doc("rules that decided: [0] ingress, [1] egress; 0 = no rule");
	__u32 length __doc("IP length of this packet, bytes");
	__u32 ifindex __doc("device the program ran on");
	struct ip_address
		service __doc("virtual address the initiator asked for, translated by this node; zeros: none");
	__be16 service_port;
	__u16 pad[3];
};
_Static_assert(sizeof(struct flow_event) == 160, "abi");
