/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Into a pod of this node, past the stack and past the target's to_pod: all sides have been judged by now. */
#pragma once
#include "lib/parse.h"

/* To the pod `p->target`, past the stack. */
__force_inline int deliver_to_pod(struct __sk_buff *ctx, const struct passage *p, const enum family family)
{
	struct {
		struct mac_address destination;
		__u8 source[6];
	} macs = { .source = GATEWAY_MAC };
	struct endpoint *pod = find_endpoint(p->target);

	if (!pod || !owns_address(pod, &p->tuple.destination, family))
		return -DROP_DESTINATION_GONE;
	macs.destination = pod->mac;
	if (bpf_skb_store_bytes(ctx, 0, &macs, sizeof(macs), 0))
		return -DROP_MALFORMED;
	/* The mark would reach the target's namespace; a frame sent to another MAC would be somebody else's there. */
	ctx->mark = 0;
	if (ctx->pkt_type != 0 /* PACKET_HOST */)
		bpf_skb_change_type(ctx, 0);
	return bpf_redirect_peer(pod->ifindex, 0) == TCX_REDIRECT ? OUTCOME_DELIVER : -DROP_DESTINATION_GONE;
}
