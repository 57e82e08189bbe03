/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Is the connection allowed? Judged when it begins, and again with every epoch; what was said goes into its entry. */
#pragma once
#include "lib/follow.h"
#include "lib/policy.h"
#include "lib/resolve.h"

__force_inline __u32 current_epoch(void)
{
	__u32 zero = 0;
	volatile __u32 *value = bpf_map_lookup_elem(&epoch, &zero);

	return value ? *value : 0;
}

__force_inline void report_audit(struct __sk_buff *ctx, struct passage *p)
{
	if (p->audit)
		emit(ctx, p, NULL, EVENT_AUDIT, p->audit == AUDIT_WOULD_DENY ? EVENT_AUDIT_WOULD_DENY : 0);
}

/* What is on its way to a pod: a pod of this node comes by its own veth, the node itself by no device, what is behind a
 * tunnel by that; everything else is forged. A tunnel also says who sends: somebody else than before is judged. */
__force_inline bool came_its_way(const struct __sk_buff *ctx, const struct passage *p,
				 const struct conntrack_entry *entry)
{
	__u32 sender = p->sender & 1, pod = entry->endpoint[sender];

	if (p->direction == DIRECTION_EGRESS)
		return true;
	if (pod)
		return ctx->ingress_ifindex == ENDPOINT_IFINDEX_BASE + pod;
	if (entry->node[sender] != p->source_node)
		return false;
	if (p->claimed_identity)
		return entry->identity[sender] == p->claimed_identity;
	return is_from_this_host(ctx) || entry->identity[sender] != IDENTITY_HOST || is_translated_answer(ctx, p);
}

/* What the responder of a revoked connection still sends may arrive; nothing is prolonged or reported. */
__force_inline int pass_late_reply(struct passage *p, struct conntrack_entry *entry)
{
	head_for(p, entry, SIDE_INITIATOR);
	count_traffic(p, entry);
	return OUTCOME_GO_ON;
}

/* Are both ends who they were when the connection was judged last? Of one that is elsewhere only the identity is known.
 */
__force_inline bool has_same_ends(const struct passage *p, const struct conntrack_entry *entry)
{
	for (__u32 side = 0; side < SIDE_COUNT; side++) {
		const struct party *party = &p->party[end_of(p, side)];

		if (party->endpoint != entry->endpoint[side] ||
		    (!party->endpoint && party->identity != entry->identity[side]))
			return false;
	}
	return true;
}

/* Bits of `was_allowed`: where the connection was allowed, once its responder has answered. */
__force_inline __u8 established_sides(const struct conntrack_entry *entry)
{
	__u16 flags = entry->flags;

	if (flags & CONNTRACK_REVOKED || !(flags & CONNTRACK_REPLIED))
		return 0;
	return !!(flags & CONNTRACK_EGRESS_JUDGED) << DIRECTION_EGRESS | !!(flags & CONNTRACK_INGRESS_JUDGED)
										 << DIRECTION_INGRESS;
}

/* Writes what judging said into the entry: all but the epoch first, so that nobody trusts half of it. */
__force_inline void record_judgement(struct passage *p, struct conntrack_entry *entry, int reason)
{
	__u16 flags = reason ? CONNTRACK_REVOKED : 0;

	if (current_epoch() != p->epoch)
		return; /* outdated already: the next packet judges again */
	if (reason && !(entry->flags & CONNTRACK_REVOKED) && entry->expires > p->now + seconds(LATE_REPLY_SECONDS))
		entry->expires = p->now + seconds(LATE_REPLY_SECONDS);
	for (__u32 side = 0; side < SIDE_COUNT; side++) {
		struct party *party = &p->party[end_of(p, side)];
		__u32 direction = side == SIDE_INITIATOR ? DIRECTION_EGRESS : DIRECTION_INGRESS;

		entry->identity[side] = party->identity;
		entry->endpoint[side] = party->endpoint;
		entry->node[side] = party->node;
		if (!(p->kept & 1 << direction)) { /* else what allowed it stays named */
			entry->policy[side] = p->policy[direction];
			entry->rule[side] = p->rule[direction];
		}
		/* of two sides the second is judged only if the first allowed it */
		if (party->endpoint && (!reason || p->decided != direction) && p->policy[direction])
			flags |= judged_flag(side);
	}
	entry->aggregation = aggregation_of(p);
	if (p->masquerade)
		flags |= CONNTRACK_MASQUERADED;
	*flag_byte(entry, 1) = flags >> 8;
	asm volatile("" ::: "memory");
	*(volatile __u32 *)&entry->epoch = p->epoch;
}

/* The answer to somebody whom the node has masqueraded (take_masked) goes back to the node: who asked is known
 * from the beginning of the connection. */
__force_inline void recall_masked(struct passage *p, const struct conntrack_entry *entry)
{
	__u32 index = entry->endpoint[SIDE_INITIATOR];
	struct endpoint *pod = index ? find_endpoint(index) : NULL;

	if (pod)
		take_endpoint(&p->party[END_DESTINATION], pod, index);
	else
		p->party[END_DESTINATION] =
			(struct party){ .identity = entry->identity[SIDE_INITIATOR], .kind = PEER_OUTSIDE };
}

/* Does it only pretend to come from whom the node has masqueraded, or from the node, in the middle of what another has
 * begun? The node gives nobody a port that is in use. */
__force_inline bool is_forged(const struct passage *p, const struct conntrack_entry *entry)
{
	return p->masked && !has_same_ends(p, entry);
}

/* The epoch has changed, or this pod's side was not judged yet, or the connection is revoked: then the initiator asks
 * with every packet, like one that was never allowed, and is heard as soon as a rule allows it. */
__force_inline int judge_again(struct __sk_buff *ctx, struct passage *p, struct conntrack_entry *entry)
{
	bool outdated = entry->epoch != p->epoch, same_ends;
	int outcome, reason;

	if (!outdated && entry->flags & CONNTRACK_REVOKED && p->sender == SIDE_RESPONDER && came_its_way(ctx, p, entry))
		return pass_late_reply(p, entry);
	if (outdated)
		count(COUNTER_JUDGED_AGAIN);
	outcome = identify_parties(ctx);
	if (outcome)
		return outcome;
	if (is_forged(p, entry))
		return -DROP_HOST_SPOOF;
	/* To the node: its side was checked when the connection began; not each of its addresses is a peer. */
	if (p->direction == DIRECTION_EGRESS && entry->identity[SIDE_INITIATOR] == IDENTITY_HOST &&
	    !p->party[end_of(p, SIDE_INITIATOR)].endpoint) {
		p->party[end_of(p, SIDE_INITIATOR)].identity = IDENTITY_HOST;
		p->party[end_of(p, SIDE_INITIATOR)].kind = PEER_NODE;
	} else if (p->direction == DIRECTION_EGRESS && p->sender == SIDE_RESPONDER &&
		   p->party[END_DESTINATION].identity == IDENTITY_HOST) {
		recall_masked(p, entry);
	}
	same_ends = has_same_ends(p, entry);
	p->was_allowed = same_ends ? established_sides(entry) : 0;
	reason = judge(p->sender);
	report_audit(ctx, p);
	if (reason == DROP_IDENTITY_UNKNOWN || reason == DROP_NO_POLICY)
		return -reason; /* no judgement yet: in a moment it is known */
	if (reason && !same_ends) {
		/* An address has changed hands: there is nobody whom a late reply could be from, or meant for. */
		end_connection(ctx, p, entry, EVENT_REVOKED);
		return -DROP_POLICY_REVOKED;
	}
	record_judgement(p, entry, reason);
	if (reason)
		return p->sender == SIDE_INITIATOR ? -DROP_POLICY_REVOKED : pass_late_reply(p, entry);
	follow(ctx, p, entry);
	return OUTCOME_GO_ON;
}

__force_inline bool is_mid_stream(const struct passage *p)
{
	return is_tcp(p) && (p->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK;
}

/* What is allowed without being the beginning, or the living middle, of a connection makes no entry: bare
 * acknowledgements, FINs and resets that come after the end, echo replies nobody asked for. */
__force_inline bool makes_entry(const struct passage *p)
{
	if (p->conversation != CONVERSATION_TRACKED)
		return false;
	if (is_tcp(p))
		return is_opening(p) || (p->fragment != FRAGMENT_LATER && is_mid_stream(p) && !p->no_payload &&
					 !(p->tcp_flags & TCP_FIN));
	if (is_icmp(p, p->family))
		return p->icmp_type == (p->family == FAMILY_IPV4 ? ICMPV4_ECHO_REQUEST : ICMPV6_ECHO_REQUEST);
	return true;
}

/* `entry` is that of the tuple, whatever its state, or NULL. */
__slow int judge_packet(struct __sk_buff *ctx, struct passage *p, struct conntrack_entry *entry)
{
	bool live = entry && is_live(entry, p->now);
	int outcome, reason;
	__u32 charged;

	if (live) {
		p->sender = sender_of(entry, p->source_is_low);
		if (belongs(p, entry))
			return judge_again(ctx, p, entry);
	}
	p->sender = SIDE_INITIATOR;
	outcome = identify_parties(ctx);
	if (outcome)
		return outcome;
	if (live && is_forged(p, entry))
		return -DROP_HOST_SPOOF;
	reason = judge(SIDE_INITIATOR);
	if (reason && is_mid_stream(p)) {
		reason = judge(SIDE_RESPONDER);
		if (reason) /* neither: report the direction it travels in */
			reason = judge(SIDE_INITIATOR);
	}
	report_audit(ctx, p);
	if (reason == DROP_POLICY_DENIED && p->conversation == CONVERSATION_QUOTING)
		reason = DROP_ICMP_UNRELATED;
	if (reason)
		return -reason;
	p->target = p->party[END_DESTINATION].endpoint;
	p->node = p->party[END_DESTINATION].node;
	/* an echo request with the id of somebody else's (see belongs) leaves that entry alone */
	if (!makes_entry(p) || (live && !is_opening(p)))
		return OUTCOME_GO_ON;
	/* Who sends pays: in mid-stream it may be the responder, and whom it names as the opener has not asked for it.
	 */
	charged = p->party[END_SOURCE].endpoint;
	if (charged && !take_token(charged, p->now))
		return -DROP_NEW_CONNECTION_BUDGET;
	if (entry)
		end_connection(ctx, p, entry, live ? 0 : EVENT_EXPIRED);
	else if (config_services) /* a lead that was not followed has left the key of another connection */
		set_own_key();
	p->by_stack = p->direction == DIRECTION_INGRESS && ctx->ifindex == ENDPOINT_IFINDEX_BASE + p->own &&
		      p->party[END_SOURCE].kind == PEER_POD;
	if (conntrack_create(p))
		return -DROP_CONNTRACK_INSERT;
	if (config_services && p->translation == TRANSLATION_TO_BACKEND && write_lead())
		return -DROP_CONNTRACK_INSERT;
	emit(ctx, p, NULL, EVENT_NEW, 0);
	return OUTCOME_GO_ON;
}
