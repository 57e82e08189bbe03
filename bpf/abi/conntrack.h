/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One entry per connection per node, keyed by the ordered pair of (address, port), so that both directions find it
 * with one lookup. Low is the smaller of (address bytes, port) as memcmp orders them in network order.
 * ICMP echo: the id stands in the requester's port field, 0 in the other's. Other ICMP makes no entry.
 * Written by the programs; the agent only sweeps expired ones. */
#pragma once
#include "types.h"

enum conntrack_limits {
	CONNTRACK4_MAX = 1 << 18,
	CONNTRACK6_MAX = 1 << 17,
	FRAGMENTS_MAX = 1 << 13,
};

struct conntrack_key4 {
	__be32 low_address;
	__be32 high_address;
	__be16 low_port;
	__be16 high_port;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct conntrack_key4) == 16, "abi");

struct conntrack_key6 {
	__u8 low_address[16];
	__u8 high_address[16];
	__be16 low_port;
	__be16 high_port;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct conntrack_key6) == 40, "abi");

/* Two bytes with different writers, so that neither loses what the other sets: the low one is written by every packet,
 * the high one only where the connection is judged. */
enum conntrack_flags {
	CONNTRACK_INITIATOR_IS_LOW = 1 << 0,
	CONNTRACK_REPLIED = 1 << 1, /* the responder has answered */
	CONNTRACK_FIN_INITIATOR = 1 << 2,
	CONNTRACK_FIN_RESPONDER = 1 << 3,
	CONNTRACK_ESTABLISHED = 1 << 4,     /* TCP: handshake seen; mid-stream entries once both sides spoke */
	CONNTRACK_THROUGH_SERVICE = 1 << 5, /* the initiator asked for a virtual address: see `service` */
	CONNTRACK_LEAD = 1 << 6,     /* no connection: leads from a virtual address to the backend in `service` */
	CONNTRACK_BY_STACK = 1 << 7, /* of pods, but to_pod has seen its beginning: the stack has translated it
					(hostPort) and has to translate what comes back */

	CONNTRACK_REVOKED = 1 << 8,         /* judged again and denied: initiator drops, replies pass, no renewal */
	CONNTRACK_EGRESS_JUDGED = 1 << 9,   /* allowed at the initiator's pod, in `epoch` */
	CONNTRACK_INGRESS_JUDGED = 1 << 10, /* allowed at the responder's pod, in `epoch` */
	CONNTRACK_MASQUERADED = 1 << 11,    /* opened by a pod towards outside the cluster: the initiator's packets get
					       MARK_MASQUERADE */
};

/* Index of counters and tuples of one side of the connection. */
enum side {
	SIDE_INITIATOR = 0,
	SIDE_RESPONDER = 1,
	SIDE_COUNT = 2,
};

/* Of a connection through a Service: what the initiator asked for, and from which port; its replies get both back.
 * Of a lead, whose key is that of initiator and virtual address: the backend, and the initiator's port there. Otherwise
 * zeros. */
struct conntrack_service {
	struct ip_address address;
	__be16 port;
	__be16 client_port;
};
_Static_assert(sizeof(struct conntrack_service) == 20, "abi");

struct conntrack_entry {
	__u64 expires __doc("jiffies; the sweeper compares this and nothing else");
	__u64 created __doc("CLOCK_MONOTONIC, ns");
	__u64 reported __doc("jiffies of the last event about this connection");
	__u64 packets[SIDE_COUNT] __doc("sent by the initiator, by the responder");
	__u64 bytes[SIDE_COUNT] __doc("IP bytes likewise");
	__u32 identity[SIDE_COUNT];
	__u16 endpoint[SIDE_COUNT] __doc("index of the pod on this node, 0 = elsewhere");
	__u16 node[SIDE_COUNT] __doc(
		"number of the node at whose end of the tunnel this side is, 0 = no tunnel leads there");
	__u32 policy[SIDE_COUNT] __doc("policy that judged egress (initiator) and ingress (responder)");
	__u32 rule[SIDE_COUNT] __doc("rule that allowed egress and ingress; 0 = nothing isolates");
	__u32 epoch __doc("when it was judged last");
	__u16 flags __doc("enum conntrack_flags");
	__u8 tcp_flags[SIDE_COUNT] __doc("all flags seen, by sender");
	struct conntrack_service service;
	__u32 aggregation __doc("enum aggregation, what the pods here ask for; 0 = the node's");
};
_Static_assert(sizeof(struct conntrack_entry) == 120, "abi");

struct fragment_key {
	struct ip_address source;
	struct ip_address destination;
	__be32 id;
	__u8 family;
	__u8 protocol;
	__u16 pad;
};
_Static_assert(sizeof(struct fragment_key) == 40, "abi");

/* What later fragments need of the first one, which was allowed. */
struct fragment {
	__be16 source_port;
	__be16 destination_port;
	__u8 icmp_type;
	__u8 icmp_code;
	__u16 pad;
	__u64 expires __doc("jiffies");
};
_Static_assert(sizeof(struct fragment) == 16, "abi");

/* New-connection budget of one pod: a token bucket; a connection that closes properly gives its token back. */
struct connection_budget {
	__u64 refilled __doc("jiffies of the last refill");
	__u64 tokens;
};
