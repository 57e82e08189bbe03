/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The first packet to a virtual address, and any later one after something has changed: which backend? */
#pragma once
#include "lib/emit.h"
#include "lib/lead.h"

/* What there is already where a connection would go. */
enum place {
	PLACE_FREE = 0,
	PLACE_OURS = 1,  /* this very connection, whose lead was evicted */
	PLACE_TAKEN = 2, /* another one: its answers could not be told from ours */
};

/* Builds `candidate` from the backend chosen and this source port, and says what is there. */
__apart int look_at_place(__u32 client_port)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();
	struct conntrack_entry *entry;
	__u8 source_is_low;

	if (!t || !p)
		return PLACE_TAKEN;
	if (p->family == FAMILY_IPV4) {
		translate_tuple(&t->candidate, &t->from, &t->choice.backend.address, t->choice.backend.port,
				client_port, FAMILY_IPV4);
		entry = conntrack_lookup(&t->candidate, &t->key, &source_is_low, FAMILY_IPV4);
	} else {
		translate_tuple(&t->candidate, &t->from, &t->choice.backend.address, t->choice.backend.port,
				client_port, FAMILY_IPV6);
		entry = conntrack_lookup(&t->candidate, &t->key, &source_is_low, FAMILY_IPV6);
	}
	if (!entry || !is_live(entry, p->now))
		return PLACE_FREE;
	return is_through(entry, &t->from) ? PLACE_OURS : PLACE_TAKEN;
}

__force_inline __u32 first_index(const struct translation_scratch *t, __u32 count)
{
	__u32 hash = mix_address(mix(t->from.protocol, ports_of(&t->from)), &t->from.source);

	return mix_address(hash, &t->from.destination) % count;
}

/* Chooses a backend and a source port. PLACE_*, PLACE_TAKEN for a clash that cannot be avoided; negative: no backend.
 */
__force_inline int choose(struct passage *p, struct translation_scratch *t, const struct service *service)
{
	const __u32 count = service->count;
	__be16 asked_from = t->from.source_port;
	__u32 first;
	int place;

	if (!count)
		return -1;
	if (recall_affinity(&t->choice, service, p->now)) {
		place = look_at_place(asked_from);
		if (place != PLACE_TAKEN)
			return place;
	} else {
		first = first_index(t, count);
		for (__u32 i = 0; i < SLOTS_TRIED; i++) {
			if (!take_slot(&t->choice, service, (first + i) % count))
				return -1;
			place = look_at_place(asked_from);
			if (place != PLACE_TAKEN)
				return place;
			if (i + 1 >= count || service->affinity_seconds)
				break;
		}
	}
	for (int i = 0; i < PORTS_TRIED; i++) {
		place = look_at_place(bpf_htons(PORT_FIRST + bpf_get_prandom_u32() % PORT_CHOICES));
		if (place == PLACE_FREE)
			return place;
	}
	return PLACE_TAKEN;
}

__force_inline void take_candidate(struct passage *p, const struct translation_scratch *t)
{
	p->tuple = t->candidate;
	p->translation = TRANSLATION_TO_BACKEND;
}

/* The sender is told, where its protocol has a way to say so. */
__force_inline int refuse(struct passage *p, int reason)
{
	p->refused = 1;
	return -reason;
}

/* May the packet go where the lead points, although something has changed? TCP goes on with a backend that is none any
 * more, because it is let finish; what nobody answers, and UDP, does not. If not, that connection is over. */
__force_inline bool keeps_lead(struct __sk_buff *ctx, struct passage *p, struct translation_scratch *t,
			       struct conntrack_entry *lead, const struct service *service, const enum family family)
{
	struct conntrack_entry *entry;
	bool keeps;

	translate_tuple(&p->tuple, &t->from, &lead->service.address, lead->service.port, lead->service.client_port,
			family);
	t->candidate = p->tuple;
	entry = conntrack_lookup(&p->tuple, &p->key, &p->source_is_low, family);
	if (entry && !(is_live(entry, p->now) && is_through(entry, &t->from)))
		entry = NULL;
	if (is_tcp(p) && !is_opening(p)) {
		keeps = true;
	} else {
		t->choice.backend.address = lead->service.address;
		t->choice.backend.port = lead->service.port;
		t->choice.backend.family = family;
		t->choice.backend.pad = 0;
		keeps = service && is_member(&t->choice, service->slots, &t->choice.backend);
		/* a SYN that is not repeated begins anew, and so does the choice */
		if (is_opening(p))
			keeps = keeps && entry && !(entry->flags & (CONNTRACK_ESTABLISHED | CONNTRACK_FIN_BOTH));
	}
	if (!keeps && entry)
		end_connection(ctx, p, entry, 0);
	p->tuple = t->from;
	return keeps;
}

/* `leads`: there is a lead for the packet's own tuple. Afterwards the passage has the tuple to judge; or a drop reason
 * is returned. */
__force_inline int resolve_family(struct __sk_buff *ctx, struct passage *p, struct translation_scratch *t, bool leads,
				  const enum family family)
{
	struct conntrack_entry *found;
	struct service held = {}, *service;
	struct service_key *asked = &t->choice.asker.service;
	int place;

	if (is_hairpin_address(&p->tuple.destination, family))
		return -DROP_SERVICE_NO_PORT;
	asked->address = p->tuple.destination;
	asked->port = p->tuple.destination_port;
	asked->protocol = p->tuple.protocol;
	asked->family = family;
	if (!leads && !is_virtual(asked))
		return 0;
	if (p->tuple.protocol != IPPROTO_TCP && p->tuple.protocol != IPPROTO_UDP)
		return -DROP_SERVICE_NO_PORT;
	t->from = p->tuple;
	t->choice.asker.client = p->tuple.source;
	service = take_service(asked, &held) ? &held : NULL;
	found = conntrack_lookup(&p->tuple, &p->key, &p->source_is_low, family);
	if (found && !is_live(found, p->now))
		found = NULL;
	if (found && found->flags & CONNTRACK_LEAD) {
		if (keeps_lead(ctx, p, t, found, service, family)) {
			found->epoch = p->epoch;
			take_candidate(p, t);
			return 0;
		}
		found = NULL;
	}
	if (!service)
		return is_virtual(asked) ? refuse(p, DROP_SERVICE_NO_PORT) : 0;
	/* A connection that is older than the Service goes on as it began, but for datagrams: they would never notice.
	 */
	if (found) {
		if (is_tcp(p) && !is_opening(p))
			return 0;
		end_connection(ctx, p, found, 0);
	}
	place = choose(p, t, service);
	if (place < 0)
		return refuse(p, DROP_SERVICE_NO_BACKEND);
	if (place == PLACE_TAKEN)
		return -DROP_SERVICE_CLASH;
	take_candidate(p, t);
	remember_affinity(&t->choice, service, p->now);
	if (place == PLACE_OURS)
		write_lead();
	return 0;
}

/* Is a Service's address its source? Nobody has it: answers get it where they are delivered, and what somebody else
 * began with it would be in the way of a client's own connections. */
__apart int is_from_service(void)
{
	struct passage *p = this_passage();
	struct service_key address = {};

	if (!p)
		return 0;
	address.address = p->tuple.source;
	address.family = p->family;
	return is_virtual(&address);
}

__apart int resolve(struct __sk_buff *ctx, __u32 leads)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();

	if (!t || !p)
		return -DROP_SERVICE_NO_PORT;
	if (p->translation) { /* by a lead that could not simply be followed */
		p->tuple = t->from;
		p->translation = TRANSLATION_NONE;
	}
	return p->family == FAMILY_IPV4 ? resolve_family(ctx, p, t, leads, FAMILY_IPV4)
					: resolve_family(ctx, p, t, leads, FAMILY_IPV6);
}
