/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What comes in by a device of the node's own, judged like what the stack brings a pod: the pod is found by the
 * packet's connection or by its destination. */
#pragma once
#include "lib/connection.h"
#include "lib/deliver.h"
#include "lib/sender.h"

/* OUTCOME_STACK: for no pod of this node; then its sender has not been looked at, unless `p->target` is set. */
__force_inline int receive(struct __sk_buff *ctx, struct passage *p, const enum family family)
{
	struct cursor cursor;
	int outcome;

	if ((outcome = family == FAMILY_IPV4 ? parse_ipv4(ctx, p, &cursor) : parse_ipv6(ctx, p, &cursor)) ||
	    (outcome = parse_transport(ctx, p, &cursor, family)))
		return outcome;
	if (is_multicast(&p->tuple.destination, family))
		return -DROP_MULTICAST;
	/* No router passes that on (RFC 4291 section 2.5.6), and to a pod it would be from its own link: a redirect
	 * from "the gateway". */
	if (family == FAMILY_IPV6 && is_link_local(p->tuple.source.bytes))
		return -DROP_HOST_SPOOF;
	/* Of what is not for a pod no first fragment is remembered, and none is needed. */
	if (p->fragment == FRAGMENT_LATER && (outcome = find_receiver(p)))
		return outcome;
	if ((outcome = judge_or_follow(ctx, p, &cursor, family)))
		return outcome;
	return p->target ? deliver_to_pod(ctx, p, family) : OUTCOME_STACK;
}
