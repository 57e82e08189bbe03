/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who lives at an address. `peers` has exact addresses (pods, nodes, this host); `ranges` has prefixes for what is not
 * listed exactly: pod CIDRs are `unmanaged` until their pod is known. What is in neither is the world. */
#pragma once
#include "types.h"

enum peer_limits {
	PEERS_MAX = 1 << 17,
	RANGES_MAX = 1 << 14,
};

enum peer_kind {
	PEER_OUTSIDE = 0,
	PEER_NODE = 1, /* host, remote-node, kube-apiserver on a node */
	PEER_POD = 2,  /* pods, also unmanaged ones */
};

struct peer_key {
	__u32 family;
	struct ip_address address;
};
_Static_assert(sizeof(struct peer_key) == 20, "abi");

struct peer {
	__u32 identity;
	__u32 endpoint __doc("index of the pod on this node; 0 = not on this node");
	__u32 kind __doc("enum peer_kind");
	__u32 node __doc(
		"number of the node whose tunnel leads there, index of `tunnel_nodes`; 0 = the stack's routes do");
};

struct range_key {
	__u32 prefix_len __doc("32 + bits of the address that matter");
	__u32 family;
	struct ip_address address;
};
