/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* May this packet pass? Yes, if it belongs to a connection that is allowed in the present epoch; otherwise its
 * connection is judged, now or again.
 *
 *   entry, judged in this epoch ─────────────── follow it                          (what nearly every packet does)
 *   entry, judged before the epoch changed ──── judge the initiator's tuple again: allowed or revoked
 *   SYN ─────────────────────────────────────── judge; allowed: a new entry, in place of an old one
 *   nothing known ───────────────────────────── judge; denied TCP in mid-stream may still be the answer to a
 *                                               connection whose entry was evicted: judge that direction too
 */
#pragma once
#include "lib/fragment.h"
#include "lib/judge.h"
#include "lib/related.h"
#include "lib/resolve.h"

/* A cleared passage with what every packet needs. `own`: index of the pod the program runs for, 0 where it is found out
 * later. The epoch is read before anything it guards. */
__force_inline struct passage *begin(const enum direction direction, __u32 own)
{
	struct passage *p = this_passage();

	if (!p)
		return NULL;
	__builtin_memset(p, 0, sizeof(*p));
	p->epoch = current_epoch();
	p->now = bpf_jiffies64();
	p->direction = p->decided = direction;
	p->own = own;
	return p;
}

/* Is the entry one to follow, without a second look? This pod's side must have been judged in this epoch. */
__force_inline bool holds(const struct __sk_buff *ctx, struct passage *p, const struct conntrack_entry *entry)
{
	__u16 flags = entry->flags;
	__u32 own_side;

	if (entry->epoch != p->epoch || !is_live(entry, p->now))
		return false;
	p->sender = sender_of(entry, p->source_is_low);
	own_side = p->direction == DIRECTION_EGRESS ? p->sender : p->sender ^ 1;
	return (flags & (CONNTRACK_REVOKED | judged_flag(own_side))) == judged_flag(own_side) &&
	       came_its_way(ctx, p, entry) && belongs(p, entry);
}

/* What no entry says how to treat: to a Service, or pretending to be one? Of the first `*entry` is that of its backend,
 * or NULL. */
__force_inline int find_service(struct __sk_buff *ctx, struct passage *p, struct conntrack_entry **entry,
				struct conntrack_entry *found, const enum family family)
{
	int outcome;

	/* What answers somebody is from and to that one, whatever the addresses. */
	if (found && !(found->flags & CONNTRACK_LEAD) && is_live(found, p->now) &&
	    sender_of(found, p->source_is_low) == SIDE_RESPONDER)
		return OUTCOME_GO_ON;
	if (p->direction != DIRECTION_EGRESS)
		return is_from_service() ? -DROP_HOST_SPOOF : OUTCOME_GO_ON;
	outcome = resolve(ctx, found && found->flags & CONNTRACK_LEAD);
	if (outcome)
		return outcome;
	if (p->translation)
		*entry = conntrack_lookup(&p->tuple, &p->key, &p->source_is_low, family);
	else if (found && found->flags & CONNTRACK_LEAD)
		*entry = NULL;
	return OUTCOME_GO_ON;
}

/* The whole question. `cursor` stands at the transport header. Where the answer is yes, the packet has been translated,
 * to the backend or back to what its client asked for. */
__force_inline int judge_or_follow(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
				   const enum family family)
{
	struct conntrack_entry *entry = NULL, *found;
	int outcome = OUTCOME_GO_ON;

	p->transport = cursor->offset;
	if (p->fragment == FRAGMENT_LATER) {
		outcome = recall_first(p);
		if (outcome)
			return outcome;
	}
	if (is_icmp(p, family))
		classify_icmp(p, family);
	if (p->conversation == CONVERSATION_TRACKED) {
		entry = found = conntrack_lookup(&p->tuple, &p->key, &p->source_is_low, family);
		if (config_services && entry && entry->flags & CONNTRACK_LEAD)
			entry = follow_lead(p, entry, family);
		if (entry && holds(ctx, p, entry)) {
			if (config_services && entry->flags & CONNTRACK_THROUGH_SERVICE) {
				outcome = note_service(p, entry, family);
				if (outcome)
					return outcome;
			}
			follow(ctx, p, entry);
			goto passed;
		}
		if (config_services) {
			outcome = find_service(ctx, p, &entry, found, family);
			if (outcome)
				return outcome;
			/* a SYN of the backend's own begins something else */
			if (entry && entry->flags & CONNTRACK_THROUGH_SERVICE && is_live(entry, p->now) &&
			    !(is_opening(p) && sender_of(entry, p->source_is_low) == SIDE_RESPONDER)) {
				outcome = note_service(p, entry, family);
				if (outcome)
					return outcome;
			}
		}
	} else {
		__u32 quote = cursor->offset + sizeof(struct icmp_header);

		if (p->conversation == CONVERSATION_QUOTING && p->fragment != FRAGMENT_LATER &&
		    (family == FAMILY_IPV4 ? is_related_ipv4(ctx, p, quote) : is_related_ipv6(ctx, p, quote)))
			return OUTCOME_GO_ON;
		if (config_services) {
			outcome = find_service(ctx, p, &entry, NULL, family);
			if (outcome)
				return outcome;
		}
	}
	outcome = judge_packet(ctx, p, entry);
	if (outcome)
		return outcome;
passed:
	if (p->fragment == FRAGMENT_FIRST)
		remember_first(p);
	return config_services && p->translation ? write_translation(ctx) : OUTCOME_GO_ON;
}
