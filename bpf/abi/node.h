/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs know of the node they run on: one row, written whole by the agent when it attaches the programs of
 * the node's own devices, all zeros until then. And whom the uplink takes nothing from. */
#pragma once
#include "types.h"

enum node_flags {
	NODE_MASQUERADES = 1 << 0, /* packets of pods that leave the cluster get MARK_MASQUERADE */
};

struct node_state {
	__u32 tunnel_ifindex __doc("the VXLAN device; 0 = packets to other nodes go by the stack's routes");
	__u32 path_mtu __doc("IP bytes that fit on the way to another node; 0 = not known, everything passes");
	__u32 flags __doc("enum node_flags");
	__be16 tunnel_port __doc("UDP port of the tunnel; 0 = none");
	__u16 pad;
	__be32 pod_ipv4 __doc("this node's own prefix of pods, as address and mask; mask 0 = none");
	__be32 pod_ipv4_mask;
	__u8 pod_ipv6[16] __doc("likewise");
	__u8 pod_ipv6_mask[16];
};
_Static_assert(sizeof(struct node_state) == 56, "abi");

/* `refused_sources` (range_key -> enum drop_reason): configured deny ranges, and the node's own addresses and pods,
 * which nobody outside has. `masquerade_excluded` (range_key; the value is not read): destinations outside the cluster
 * that see the addresses of pods. */
enum node_limits {
	REFUSED_SOURCES_MAX = 1 << 18,
	MASQUERADE_EXCLUDED_MAX = 1 << 12,
};
