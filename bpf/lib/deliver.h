/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Into a pod of this node, when all sides have been judged: by the stack's way through to_pod, or past the stack and
 * past the target's to_pod. */
#pragma once
#include "lib/parse.h"

/* What is done to every packet on its last step into a pod, whichever program takes that step: from_pod, to_pod,
 * from_tunnel, from_uplink. `cursor` stands at the transport header. */
__force_inline int enter_pod(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
			     const enum family family)
{
	(void)ctx, (void)p, (void)cursor, (void)family;
	return OUTCOME_GO_ON;
}

/* In to_pod: the stack has brought it. */
__force_inline int let_in(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
			  const enum family family)
{
	int outcome = enter_pod(ctx, p, cursor, family);

	return outcome ? outcome : OUTCOME_STACK;
}

/* In all others: to the pod `p->target`, past the stack. */
__force_inline int deliver_to_pod(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
				  const enum family family)
{
	struct {
		struct mac_address destination;
		__u8 source[6];
	} macs = { .source = GATEWAY_MAC };
	struct endpoint *pod = find_endpoint(p->target);
	int outcome;

	if (!pod || !owns_address(pod, &p->tuple.destination, family))
		return -DROP_DESTINATION_GONE;
	outcome = enter_pod(ctx, p, cursor, family);
	if (outcome)
		return outcome;
	macs.destination = pod->mac;
	if (bpf_skb_store_bytes(ctx, 0, &macs, sizeof(macs), 0))
		return -DROP_MALFORMED;
	/* The mark would reach the target's namespace; a frame sent to another MAC would be somebody else's there. */
	ctx->mark = 0;
	if (ctx->pkt_type != 0 /* PACKET_HOST */)
		bpf_skb_change_type(ctx, 0);
	return bpf_redirect_peer(pod->ifindex, 0) == TCX_REDIRECT ? OUTCOME_DELIVER : -DROP_DESTINATION_GONE;
}
