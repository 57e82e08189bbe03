/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The other ends of the tunnel. A node's number is chosen by this node's agent and means nothing elsewhere; what
 * travels is the VNI: the identity of who sends the inner packet. */
#pragma once
#include "types.h"

enum tunnel_limits {
	TUNNEL_NODES_MAX = 4096,    /* numbers 1 to 4095 */
	TUNNEL_SOURCES_MAX = 16384, /* underlay addresses of all nodes together */
	VNI_MAX = (1 << 24) - 1,
};

/* `tunnel_nodes` (node number -> where to send); `tunnel_sources` (peer_key: underlay address -> node number) has all
 * addresses of each node, and tunnel packets are taken from no others. */
struct tunnel_node {
	__u32 family __doc("enum family; 0 = no node has this number");
	struct ip_address address;
};
_Static_assert(sizeof(struct tunnel_node) == 20, "abi");
