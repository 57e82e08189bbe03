/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ICMP errors: part of the connection they quote, if the quoted packet was sent by the one who gets the error. */
#pragma once
#include "lib/lead.h"

/* The next header in that of IPv6. */
#define IPV6_NEXT_OFFSET 6

/* The quoted packet, turned round: as if its receiver had sent it. False: cannot be read, or has no ports. */
__force_inline bool read_quote(struct __sk_buff *ctx, __u32 at, struct tuple *t, const enum family family)
{
	struct icmp_header transport; /* its first four bytes are the ports of TCP, UDP and SCTP */
	__be16 ports[2];

	if (family == FAMILY_IPV4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
			return false;
		if (ip.frag_off & bpf_htons(IPV4_OFFSET_MASK))
			return false;
		*(__be32 *)t->source.bytes = ip.daddr;
		*(__be32 *)t->destination.bytes = ip.saddr;
		t->protocol = ip.protocol;
		at += ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version != 6)
			return false;
		__builtin_memcpy(&t->source, &ip.daddr, sizeof(t->source));
		__builtin_memcpy(&t->destination, &ip.saddr, sizeof(t->destination));
		t->protocol = ip.nexthdr;
		at += sizeof(ip);
		if (t->protocol == IPPROTO_FRAGMENT) {
			struct ipv6_extension fragment;

			if (bpf_skb_load_bytes(ctx, at, &fragment, sizeof(fragment)) ||
			    fragment.first & bpf_htons(IPV6_OFFSET_MASK))
				return false;
			t->protocol = fragment.next;
			at += sizeof(fragment);
		}
	}
	if (bpf_skb_load_bytes(ctx, at, &transport, sizeof(transport)))
		return false;
	__builtin_memcpy(ports, &transport, sizeof(ports));
	if (t->protocol == IPPROTO_TCP || t->protocol == IPPROTO_UDP || t->protocol == IPPROTO_SCTP) {
		t->source_port = ports[1];
		t->destination_port = ports[0];
		return true;
	}
	if (t->protocol != (family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return false;
	/* the id stands at the requester, who is the destination here if a request is quoted */
	if (transport.type == (family == FAMILY_IPV4 ? ICMPV4_ECHO_REQUEST : ICMPV6_ECHO_REQUEST))
		t->destination_port = transport.id;
	else if (transport.type == (family == FAMILY_IPV4 ? ICMPV4_ECHO_REPLY : ICMPV6_ECHO_REPLY))
		t->source_port = transport.id;
	else
		return false;
	return true;
}

__force_inline bool same_address(const struct ip_address *left, const struct ip_address *right)
{
	return same_ipv6(left, right);
}

/* The quoted packet, from read_quote's turned tuple, as it stands in the error. */
__force_inline void turn_round(const struct tuple *turned, struct tuple *t)
{
	t->source = turned->destination;
	t->destination = turned->source;
	t->source_port = turned->destination_port;
	t->destination_port = turned->source_port;
	t->protocol = turned->protocol;
}

/* Translates error and quote: from p->tuple to scratch->candidate, from scratch->from to scratch->to. The packet's own
 * checksum covers the quote; in IPv4 the quoted header's makes up for its addresses. */
__force_inline int rewrite_error_family(struct __sk_buff *ctx, struct passage *p, struct translation_scratch *t,
					__u32 at, const enum family family)
{
	__u32 sum = p->transport + ICMP_CHECKSUM_OFFSET, ports_at = at + sizeof(struct ipv6hdr);
	__s64 outer = address_difference(&p->tuple, &t->candidate), inner = address_difference(&t->from, &t->to);
	__be32 ports = ports_of(&t->to);
	__u8 byte;

	if (bpf_skb_load_bytes(ctx, at + (family == FAMILY_IPV4 ? 0 : IPV6_NEXT_OFFSET), &byte, sizeof(byte)))
		return -DROP_MALFORMED;
	if (family == FAMILY_IPV4) {
		ports_at = at + (byte & 0xf) * 4;
		bpf_l3_csum_replace(ctx, ETH_HLEN + IPV4_CHECKSUM_OFFSET, 0, outer, 0);
		bpf_l3_csum_replace(ctx, at + IPV4_CHECKSUM_OFFSET, 0, inner, 0);
	} else {
		if (byte == IPPROTO_FRAGMENT)
			ports_at += sizeof(struct ipv6_extension);
		change_pseudo_checksum(ctx, sum, outer, 0, FAMILY_IPV6);
		bpf_l4_csum_replace(ctx, sum, 0, inner, 0);
	}
	bpf_l4_csum_replace(ctx, sum, ports_of(&t->from), ports, sizeof(ports));
	store_addresses(ctx, ETH_HLEN, &t->candidate, family);
	store_addresses(ctx, at, &t->to, family);
	bpf_skb_store_bytes(ctx, ports_at, &ports, sizeof(ports), 0);
	p->tuple.destination = t->candidate.destination;
	return 0;
}

__apart int rewrite_error(struct __sk_buff *ctx, __u32 at)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();

	if (!t || !p)
		return -DROP_MALFORMED;
	return p->family == FAMILY_IPV4 ? rewrite_error_family(ctx, p, t, at, FAMILY_IPV4)
					: rewrite_error_family(ctx, p, t, at, FAMILY_IPV6);
}

/* A client's error about what a virtual address sent it goes to the backend, about what that sent: the connection's
 * entry, or NULL. `quoted` becomes the connection's tuple. */
__force_inline struct conntrack_entry *relate_to_backend(struct passage *p, struct translation_scratch *t,
							 const struct conntrack_entry *lead, struct tuple *quoted,
							 __u8 *source_is_low, const enum family family)
{
	struct conntrack_entry *entry;
	struct tuple *asked = &t->asked;

	*asked = *quoted;
	turn_round(quoted, &t->from);
	translate_tuple(quoted, asked, &lead->service.address, lead->service.port, lead->service.client_port, family);
	turn_round(quoted, &t->to);
	entry = conntrack_lookup(quoted, &p->key, source_is_low, family);
	if (!entry || !is_through(entry, asked))
		return NULL;
	t->candidate.source = quoted->source;
	t->candidate.destination = quoted->destination;
	return entry;
}

/* An error about what a client sent through a Service: as if about what it asked for, and from there where the backend
 * itself complains. */
__force_inline void relate_to_client(const struct passage *p, struct translation_scratch *t,
				     const struct conntrack_entry *entry, const struct tuple *quoted,
				     const enum family family)
{
	bool hairpin = is_hairpin_address(&p->tuple.destination, family);

	turn_round(quoted, &t->from);
	t->to = t->from;
	t->to.destination = entry->service.address;
	t->to.destination_port = entry->service.port;
	t->to.source_port = entry->service.client_port;
	t->candidate.source = p->tuple.source;
	t->candidate.destination = p->tuple.destination;
	if (hairpin)
		t->to.source = t->candidate.destination = quoted->source;
	if (same_address(&p->tuple.source, &quoted->source))
		t->candidate.source = entry->service.address;
}

/* Does the error whose quote begins at `at` belong to a connection that is allowed now? Sets `target`. */
__force_inline bool is_related(struct __sk_buff *ctx, struct passage *p, __u32 at, const enum family family)
{
	struct translation_scratch *t = this_translation();
	struct conntrack_entry *entry;
	struct tuple quoted = {};
	bool translated = false;
	__u8 source_is_low;

	if (!t || !read_quote(ctx, at, &quoted, family))
		return false;
	if (!same_address(&quoted.destination, &p->tuple.destination))
		return false;
	/* A pod is no router: it reports only what was sent to itself. */
	if (p->direction == DIRECTION_EGRESS && !same_address(&quoted.source, &p->tuple.source))
		return false;
	entry = conntrack_lookup(&quoted, &p->key, &source_is_low, family);
	if (config_services && entry && entry->flags & CONNTRACK_LEAD) {
		entry = relate_to_backend(p, t, entry, &quoted, &source_is_low, family);
		translated = true;
	}
	if (!entry || !is_live(entry, p->now) || entry->epoch != p->epoch || entry->flags & CONNTRACK_REVOKED)
		return false;
	head_for(p, entry, ~sender_of(entry, source_is_low) & 1);
	if (config_services && !translated && entry->flags & CONNTRACK_THROUGH_SERVICE &&
	    sender_of(entry, source_is_low) == SIDE_RESPONDER) {
		relate_to_client(p, t, entry, &quoted, family);
		translated = true;
	}
	return !translated || !rewrite_error(ctx, at);
}

__slow int is_related_ipv4(struct __sk_buff *ctx, struct passage *p, __u32 at)
{
	return is_related(ctx, p, at, FAMILY_IPV4);
}

__slow int is_related_ipv6(struct __sk_buff *ctx, struct passage *p, __u32 at)
{
	return is_related(ctx, p, at, FAMILY_IPV6);
}
