/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Events for the agent, and the one door by which a program ends. */
#pragma once
#include "lib/budget.h"
#include "lib/conntrack.h"
#include "lib/count.h"
#include "lib/lead.h"
#include "lib/peer.h"
#include "lib/refuse.h"

__force_inline __u32 event_flags(const struct passage *p, const struct conntrack_entry *entry, __u32 sender)
{
	__u32 flags = 0;

	if (sender == SIDE_RESPONDER)
		flags |= EVENT_IS_REPLY;
	if (p->reason == DROP_POLICY_REVOKED || (entry && entry->flags & CONNTRACK_REVOKED))
		flags |= EVENT_REVOKED;
	if (p->fragment != FRAGMENT_WHOLE)
		flags |= EVENT_FRAGMENT;
	if (p->conversation == CONVERSATION_QUOTING && !p->reason)
		flags |= EVENT_RELATED;
	if (p->direction == DIRECTION_EGRESS && !p->target && !p->node && !p->reason)
		flags |= EVENT_TO_HOST;
	return flags;
}

/* What the initiator asked for, where that was a Service. */
__force_inline void name_service(struct flow_event *event, const struct passage *p, const struct conntrack_entry *entry)
{
	const struct translation_scratch *t;

	if (entry) {
		if (entry->flags & CONNTRACK_THROUGH_SERVICE) {
			event->service = entry->service.address;
			event->service_port = entry->service.port;
		}
		return;
	}
	if (!p->translation)
		return;
	t = this_translation();
	if (!t)
		return;
	if (p->translation == TRANSLATION_TO_CLIENT ||
	    (p->translation == TRANSLATION_WRITTEN && p->sender == SIDE_RESPONDER)) {
		event->service = t->to.source;
		event->service_port = t->to.source_port;
	} else {
		event->service = t->from.destination;
		event->service_port = t->from.destination_port;
	}
}

/* One record. With an entry: its identities, totals and rules; without: what the passage says, and this one packet.
 * EVENT_END also removes the entry, and says nothing when another CPU was faster. */
__slow int emit(struct __sk_buff *ctx, struct passage *p, struct conntrack_entry *entry, __u32 type, __u32 flags)
{
	struct flow_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__u32 sender = entry ? sender_of(entry, p->source_is_low) : p->sender;

	if (!event) {
		count(COUNTER_EVENTS_LOST);
		return type == EVENT_END ? conntrack_remove(p) : 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_ns();
	event->source = p->tuple.source;
	event->destination = p->tuple.destination;
	event->source_port = p->tuple.source_port;
	event->destination_port = p->tuple.destination_port;
	event->family = p->family;
	event->protocol = p->tuple.protocol;
	event->type = type;
	event->reason = type == EVENT_DROP ? p->reason : DROP_NONE;
	event->direction = type == EVENT_DROP ? p->decided : type == EVENT_AUDIT ? p->audit_direction : p->direction;
	event->tcp_flags = p->tcp_flags;
	event->icmp_type = p->icmp_type;
	event->icmp_code = p->icmp_code;
	event->flags = flags | event_flags(p, entry, sender);
	event->length = p->length;
	event->ifindex = ctx->ifindex;
	if (config_services)
		name_service(event, p, entry);
	if (entry) {
		event->created = entry->created;
		event->packets[SIDE_INITIATOR] = entry->packets[SIDE_INITIATOR];
		event->packets[SIDE_RESPONDER] = entry->packets[SIDE_RESPONDER];
		event->bytes[SIDE_INITIATOR] = entry->bytes[SIDE_INITIATOR];
		event->bytes[SIDE_RESPONDER] = entry->bytes[SIDE_RESPONDER];
		event->identity[END_SOURCE] = entry->identity[sender & 1];
		event->identity[END_DESTINATION] = entry->identity[~sender & 1];
		event->endpoint[END_SOURCE] = entry->endpoint[sender & 1];
		event->endpoint[END_DESTINATION] = entry->endpoint[~sender & 1];
		event->policy[DIRECTION_EGRESS] = entry->policy[SIDE_INITIATOR];
		event->policy[DIRECTION_INGRESS] = entry->policy[SIDE_RESPONDER];
		event->rule[DIRECTION_EGRESS] = entry->rule[SIDE_INITIATOR];
		event->rule[DIRECTION_INGRESS] = entry->rule[SIDE_RESPONDER];
	} else {
		__u32 counted = type == EVENT_DROP ? SIDE_INITIATOR : sender & 1;

		event->created = type == EVENT_NEW ? event->time : 0;
		event->packets[counted] = 1;
		event->bytes[counted] = p->length;
		event->identity[END_SOURCE] = p->party[END_SOURCE].identity;
		event->identity[END_DESTINATION] = p->party[END_DESTINATION].identity;
		event->endpoint[END_SOURCE] = p->party[END_SOURCE].endpoint;
		event->endpoint[END_DESTINATION] = p->party[END_DESTINATION].endpoint;
		__builtin_memcpy(event->policy, p->policy, sizeof(event->policy));
		if (type == EVENT_AUDIT)
			__builtin_memcpy(event->rule, p->audit_rule, sizeof(event->rule));
		else
			__builtin_memcpy(event->rule, p->rule, sizeof(event->rule));
	}
	if (type == EVENT_END) {
		event->tcp_flags = entry ? entry->tcp_flags[0] | entry->tcp_flags[1] : 0;
		if (conntrack_remove(p)) {
			bpf_ringbuf_discard(event, 0);
			return 0;
		}
	}
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The connection is over: reported with its totals, removed, and its pod has a token back. */
__slow int end_connection(struct __sk_buff *ctx, struct passage *p, struct conntrack_entry *entry, __u32 flags)
{
	__u32 initiator = entry->endpoint[SIDE_INITIATOR];

	if (config_services && entry->flags & CONNTRACK_THROUGH_SERVICE)
		remove_lead();
	emit(ctx, p, entry, EVENT_END, flags);
	return_token(initiator);
	count(COUNTER_CONNTRACK_CLOSED);
	return 0;
}

/* Who sends through this veth is known even where nothing of the frame could be read, or believed. */
__force_inline void name_sender(const struct __sk_buff *ctx, struct passage *p)
{
	struct endpoint *pod;

	if (p->direction != DIRECTION_EGRESS || p->party[END_SOURCE].endpoint)
		return;
	pod = find_endpoint(p->own);
	if (pod && pod->ifindex == ctx->ifindex)
		take_endpoint(&p->party[END_SOURCE], pod, p->own);
}

__slow int drop(struct __sk_buff *ctx, struct passage *p, int reason)
{
	name_sender(ctx, p);
	if (p->family == 0)
		p->length = ctx->len;
	p->reason = reason;
	count_drop(reason, p->decided, p->length);
	emit(ctx, p, NULL, EVENT_DROP, 0);
	return TCX_DROP;
}

/* Back to the pod that sent it: the packet is the answer by now. */
__slow int send_back(struct __sk_buff *ctx)
{
	count(COUNTER_ANSWERED);
	bpf_skb_change_type(ctx, 0 /* PACKET_HOST */);
	return bpf_redirect_peer(ctx->ifindex, 0);
}

/* How every program ends. */
__force_inline int finish(struct __sk_buff *ctx, struct passage *p, int outcome)
{
	if (outcome < 0) {
		int verdict = drop(ctx, p, -outcome);

		return config_services && p->refused && !make_refusal(ctx) ? send_back(ctx) : verdict;
	}
	if (outcome == OUTCOME_CONSUME) {
		count(COUNTER_CONSUMED);
		return TCX_DROP;
	}
	if (outcome == OUTCOME_ANSWER)
		return send_back(ctx);
	count(p->direction == DIRECTION_EGRESS ? COUNTER_FORWARD_EGRESS : COUNTER_FORWARD_INGRESS);
	return outcome == OUTCOME_DELIVER ? TCX_REDIRECT : TCX_NEXT;
}
