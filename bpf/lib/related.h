/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ICMP errors: part of the connection they quote, if the quoted packet was sent by the one who gets the error. */
#pragma once
#include "lib/conntrack.h"

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

/* Does the error whose quote begins at `at` belong to a connection that is allowed now? Sets `target`. */
__force_inline bool is_related(struct __sk_buff *ctx, struct passage *p, __u32 at, const enum family family)
{
	struct conntrack_entry *entry;
	struct tuple quoted = {};
	__u8 source_is_low;

	if (!read_quote(ctx, at, &quoted, family))
		return false;
	if (!same_address(&quoted.destination, &p->tuple.destination))
		return false;
	/* A pod is no router: it reports only what was sent to itself. */
	if (p->direction == DIRECTION_EGRESS && !same_address(&quoted.source, &p->tuple.source))
		return false;
	entry = conntrack_lookup(&quoted, &p->key, &source_is_low, family);
	if (!entry || !is_live(entry, p->now) || entry->epoch != p->epoch || entry->flags & CONNTRACK_REVOKED)
		return false;
	head_for(p, entry, ~sender_of(entry, source_is_low) & 1);
	return true;
}

__slow int is_related_ipv4(struct __sk_buff *ctx, struct passage *p, __u32 at)
{
	return is_related(ctx, p, at, FAMILY_IPV4);
}

__slow int is_related_ipv6(struct __sk_buff *ctx, struct passage *p, __u32 at)
{
	return is_related(ctx, p, at, FAMILY_IPV6);
}
