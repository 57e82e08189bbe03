/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Pods of this node. Written by the agent when a pod comes, changes policy or goes; read on every packet.
 *
 * The agent chooses a free index per pod and creates the host-side veth with ifindex ENDPOINT_IFINDEX_BASE + index,
 * so that a program finds "its" endpoint by one array lookup (no hash): index = skb->ifindex - base. */
#pragma once
#include "types.h"

enum endpoint_limits {
	ENDPOINT_MAX = 4096,
	ENDPOINT_IFINDEX_BASE = 1 << 20,
};

/* What every pod sees as its gateway: permanent neighbour entries in the pod, no address on the host side. */
enum gateway {
	GATEWAY_IPV4 = 0xa9fe0101, /* 169.254.1.1, host order */
};
/* Read from their lines by bpf/gen. */
/* clang-format off */
#define GATEWAY_IPV6 { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } /* fe80::1 */
#define GATEWAY_MAC  { 0x0a, 0x77, 0x65, 0x69, 0x72, 0x01 } /* every host-side veth has it: locally administered */
/* clang-format on */

struct endpoint {
	/* identity and policy share one aligned word: array values are copied word by word, so a packet sees both or
	 * neither */
	__u32 identity;
	__u32 policy __doc("key of `policies`; 0 = none yet: everything is dropped (no_policy)");
	__u32 ifindex __doc("host-side veth; 0 = this index is free");
	__u32 aggregation __doc("enum aggregation (event.h) of its connections; 0 = the node's");
	struct mac_address mac __doc("the pod's own MAC");
	__u16 pad;
	__be32 ipv4 __doc("0 = the pod has no IPv4 address");
	__u8 ipv6[16] __doc("zeros = the pod has no IPv6 address");
};
_Static_assert(sizeof(struct endpoint) == 44, "abi");
