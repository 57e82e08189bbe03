/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The tunnel key of what is sent: where it goes, and in the VNI the identity of who sends it. */
#pragma once
#include "lib/peer.h"

/* Sends the packet to the other end when it reaches the tunnel's device. No fragments are allowed for: what is too
 * large has been answered, and the checksum of the outer UDP header is the kernel's choice (IPv4: none; IPv6: there is
 * one). */
__slow int set_tunnel_key(struct __sk_buff *ctx, __u32 number, __u32 identity)
{
	struct bpf_tunnel_key key = { .tunnel_id = identity & VNI_MAX, .tunnel_ttl = 64 };
	struct tunnel_node *node = bpf_map_lookup_elem(&tunnel_nodes, &number);
	__u64 flags = 0;

	if (!node)
		return -DROP_TUNNEL_MISSING;
	if (node->family == FAMILY_IPV4) {
		key.remote_ipv4 = bpf_ntohl(ipv4_of(&node->address));
		flags = BPF_F_ZERO_CSUM_TX;
	} else if (node->family == FAMILY_IPV6) {
		__builtin_memcpy(key.remote_ipv6, &node->address, sizeof(key.remote_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
	} else {
		return -DROP_TUNNEL_MISSING;
	}
	return bpf_skb_set_tunnel_key(ctx, &key, sizeof(key), flags) ? -DROP_TUNNEL_MISSING : OUTCOME_GO_ON;
}
