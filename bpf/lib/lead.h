/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The second entry of a connection through a Service: from the virtual address to the backend. It is written, renewed
 * and removed with the connection's own. */
#pragma once
#include "lib/translate.h"

/* The tuple the client sent for this connection. The passage has the connection's own, in either direction. */
__force_inline void asked_tuple(const struct passage *p, const struct conntrack_entry *entry, struct tuple *asked)
{
	bool by_initiator = sender_of(entry, p->source_is_low) == SIDE_INITIATOR;
	const struct ip_address *client = by_initiator ? &p->tuple.source : &p->tuple.destination;
	const struct ip_address *backend = by_initiator ? &p->tuple.destination : &p->tuple.source;
	bool hairpin = p->family == FAMILY_IPV4 ? is_hairpin_address(client, FAMILY_IPV4)
						: is_hairpin_address(client, FAMILY_IPV6);

	/* field by field: `asked` may have held another packet's */
	__builtin_memset(asked, 0, sizeof(*asked));
	if (hairpin)
		asked->source = *backend;
	else
		asked->source = *client;
	asked->destination = entry->service.address;
	asked->source_port = entry->service.client_port;
	asked->destination_port = entry->service.port;
	asked->protocol = p->tuple.protocol;
}

__force_inline struct conntrack_entry *find_lead(const struct passage *p, const struct tuple *asked,
						 union conntrack_key *key)
{
	struct conntrack_entry *lead;
	__u8 source_is_low;

	if (p->family == FAMILY_IPV4)
		lead = conntrack_lookup(asked, key, &source_is_low, FAMILY_IPV4);
	else
		lead = conntrack_lookup(asked, key, &source_is_low, FAMILY_IPV6);
	return lead && lead->flags & CONNTRACK_LEAD ? lead : NULL;
}

/* The connection's entry: that of p->key. */
__force_inline struct conntrack_entry *own_entry(const struct passage *p)
{
	return p->family == FAMILY_IPV4 ? bpf_map_lookup_elem(&conntrack4, &p->key.ipv4)
					: bpf_map_lookup_elem(&conntrack6, &p->key.ipv6);
}

/* The connection of the passage has more time. */
__apart int renew_lead(void)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();
	struct conntrack_entry *entry, *lead;

	if (!t || !p)
		return 0;
	entry = own_entry(p);
	if (!entry)
		return 0;
	asked_tuple(p, entry, &t->candidate);
	lead = find_lead(p, &t->candidate, &t->lead_key);
	if (lead)
		lead->expires = entry->expires;
	return 0;
}

/* The connection of the passage is over. A lead that has gone on to another backend stays. */
__apart int remove_lead(void)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();
	struct conntrack_entry *entry, *lead;

	if (!t || !p)
		return 0;
	entry = own_entry(p);
	if (!entry)
		return 0;
	asked_tuple(p, entry, &t->candidate);
	lead = find_lead(p, &t->candidate, &t->lead_key);
	if (!lead ||
	    !same_ipv6(&lead->service.address,
		       sender_of(entry, p->source_is_low) == SIDE_INITIATOR ? &p->tuple.destination : &p->tuple.source))
		return 0;
	if (p->family == FAMILY_IPV4)
		return bpf_map_delete_elem(&conntrack4, &t->lead_key.ipv4);
	return bpf_map_delete_elem(&conntrack6, &t->lead_key.ipv6);
}

/* Ties the connection of p->tuple, which has an entry by now, to what its client asked for (scratch->from). */
__apart int write_lead(void)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();
	struct conntrack_entry *entry;
	__u8 source_is_low;

	if (!t || !p)
		return -1;
	if (p->family == FAMILY_IPV4)
		entry = conntrack_lookup(&p->tuple, &t->key, &source_is_low, FAMILY_IPV4);
	else
		entry = conntrack_lookup(&p->tuple, &t->key, &source_is_low, FAMILY_IPV6);
	if (!entry)
		return -1;
	entry->service.address = t->from.destination;
	entry->service.port = t->from.destination_port;
	entry->service.client_port = t->from.source_port;
	*flag_byte(entry, 0) |= CONNTRACK_THROUGH_SERVICE;

	__builtin_memset(&t->lead, 0, sizeof(t->lead));
	t->lead.expires = entry->expires;
	t->lead.created = entry->created;
	t->lead.epoch = p->epoch;
	t->lead.flags = CONNTRACK_LEAD;
	t->lead.service.address = p->tuple.destination;
	t->lead.service.port = p->tuple.destination_port;
	t->lead.service.client_port = p->tuple.source_port;
	find_lead(p, &t->from, &t->lead_key);
	if (p->family == FAMILY_IPV4)
		return bpf_map_update_elem(&conntrack4, &t->lead_key.ipv4, &t->lead, BPF_ANY);
	return bpf_map_update_elem(&conntrack6, &t->lead_key.ipv6, &t->lead, BPF_ANY);
}

/* The connection the lead points to, if the packet may simply follow it: nothing has changed since it was written, and
 * no new connection begins. Then the passage has the connection's tuple; else it is left as it was. */
__force_inline struct conntrack_entry *follow_lead(struct passage *p, const struct conntrack_entry *lead,
						   const enum family family)
{
	struct translation_scratch *t = this_translation();
	struct conntrack_entry *entry;

	if (!t || lead->epoch != p->epoch || !is_live(lead, p->now) || is_opening(p))
		return NULL;
	t->from = p->tuple;
	translate_tuple(&p->tuple, &t->from, &lead->service.address, lead->service.port, lead->service.client_port,
			family);
	entry = conntrack_lookup(&p->tuple, &p->key, &p->source_is_low, family);
	if (!entry || !is_through(entry, &t->from)) {
		p->tuple = t->from;
		return NULL;
	}
	p->translation = TRANSLATION_TO_BACKEND;
	return entry;
}

/* A packet of a connection that goes through a Service: its answers are put back to what was asked. A packet that goes
 * to the same backend past the Service, from the same port, could not be told from those. Returns 0 or a drop reason.
 */
__force_inline int note_service(struct passage *p, const struct conntrack_entry *entry, const enum family family)
{
	struct translation_scratch *t = this_translation();

	if (sender_of(entry, p->source_is_low) == SIDE_INITIATOR)
		return p->translation || p->direction != DIRECTION_EGRESS ? 0 : -DROP_SERVICE_CLASH;
	if (!t)
		return -DROP_SERVICE_CLASH;
	t->to = p->tuple;
	t->to.source = entry->service.address;
	t->to.source_port = entry->service.port;
	t->to.destination_port = entry->service.client_port;
	if (is_hairpin_address(&p->tuple.destination, family))
		t->to.destination = p->tuple.source;
	p->translation = TRANSLATION_TO_CLIENT;
	return 0;
}
