/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Fragments: later ones have no ports and take them from the first, which must have been allowed on this node. */
#pragma once
#include "lib/translate.h"

/* Reassembly waits 30 s in Linux (net.ipv4.ipfrag_time); after that an id may be somebody else's. */
#define FRAGMENT_SECONDS 30

__force_inline void fragment_key_of(const struct passage *p, struct fragment_key *key)
{
	const struct tuple *sent = tuple_in_packet(p);

	*key = (struct fragment_key){
		.source = sent->source,
		.destination = sent->destination,
		.id = p->fragment_id,
		.family = p->family,
		.protocol = p->tuple.protocol,
	};
}

/* Called once the first fragment may pass. */
__slow int remember_first(struct passage *p)
{
	struct fragment_key key;
	const struct tuple *sent = tuple_in_packet(p);
	struct fragment first = {
		.source_port = sent->source_port,
		.destination_port = sent->destination_port,
		.icmp_type = p->icmp_type,
		.icmp_code = p->icmp_code,
		.expires = p->now + seconds(FRAGMENT_SECONDS),
	};

	fragment_key_of(p, &key);
	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
	return 0;
}

__slow int recall_first(struct passage *p)
{
	struct fragment_key key;
	struct fragment *first;

	fragment_key_of(p, &key);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first || first->expires < p->now)
		return -DROP_FRAGMENT_NO_FIRST;
	p->tuple.source_port = first->source_port;
	p->tuple.destination_port = first->destination_port;
	p->icmp_type = first->icmp_type;
	p->icmp_code = first->icmp_code;
	return 0;
}
