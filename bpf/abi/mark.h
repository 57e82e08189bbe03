/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Bits of skb->mark that the programs set for others of this node; no other bit is ever touched by them. Clear of
 * kube-proxy's 0x4000 and 0x8000, the portmap plugin's 0x2000 and Tailscale's 0xff0000. */
#pragma once

enum packet_mark {
	MARK_MASQUERADE =
		1 << 24, /* from_pod, for netfilter: give it an address of the node; other pods' packets untracked */
	MARK_TUNNELLED = 1 << 25, /* from_pod, for to_tunnel: the tunnel key is set. Never leaves the node */
	MARK_TRACKED = 1 << 26, /* from_pod, for netfilter: part of a connection the node has translated, to be tracked
				   although it leads to a pod */
};
