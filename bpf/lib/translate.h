/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets to virtual addresses, and what comes back.
 *
 *   pod ── to the virtual address ──> from_pod: to a backend, then judged, tracked and delivered like any other packet
 *   pod <── from the virtual address ── whichever program delivers to the pod (all ask judge_or_follow)
 *
 * The connection's entry is that of client and backend, and holds what the client asked for; a second entry of the same
 * table, the lead, is that of client and virtual address, and holds the backend. So an established packet to a Service
 * costs one more lookup, its answer none, and a packet to no Service none. */
#pragma once
#include "lib/conntrack.h"
#include "lib/service.h"

/* struct passage, `translation` */
enum translation {
	TRANSLATION_NONE = 0,
	TRANSLATION_TO_BACKEND = 1, /* p->tuple is what it becomes, scratch->from what it was */
	TRANSLATION_TO_CLIENT = 2,  /* p->tuple is what it was, scratch->to what it becomes */
	TRANSLATION_WRITTEN = 3,    /* into the packet: it was scratch->from, and is scratch->to */
};

/* Newer than the headers this is built with (Linux 6.16): IPv6 has no header checksum that makes up for its addresses.
 */
#define CHECKSUM_IPV6 (1 << 7)
#define EINVAL        22

#define IPV4_CHECKSUM_OFFSET 10
#define IPV4_SOURCE_OFFSET   12
#define IPV6_SOURCE_OFFSET   8
#define TCP_CHECKSUM_OFFSET  16
#define UDP_CHECKSUM_OFFSET  6
#define ICMP_CHECKSUM_OFFSET 2

/* How many slots are looked at when the first is taken by another connection, and how many source ports after that. */
#define SLOTS_TRIED  4
#define PORTS_TRIED  8
#define PORT_FIRST   32768
#define PORT_CHOICES 28232 /* Linux' own ephemeral range: 32768 to 60999 */

struct translation_scratch {
	struct tuple from;      /* the packet as it came */
	struct tuple to;        /* as it leaves */
	struct tuple candidate; /* a connection as it would be */
	struct tuple asked;     /* what a quoted connection's client asked for */
	union conntrack_key lead_key __attribute__((aligned(8)));
	union conntrack_key key __attribute__((aligned(8)));
	struct conntrack_entry lead;
	struct choice choice;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct translation_scratch);
	__uint(max_entries, 1);
} translations SEC(".maps");

__force_inline struct translation_scratch *this_translation(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&translations, &zero);
}

__force_inline void set_hairpin_address(struct ip_address *address, const enum family family)
{
	/* not static: folded away, it would leave a name without a place in the object's BTF, and the kernel refuses
	 * that */
	const struct ip_address ipv6 = { HAIRPIN_IPV6 };

	if (family == FAMILY_IPV6) {
		*address = ipv6;
		return;
	}
	__builtin_memset(address, 0, sizeof(*address));
	*(__be32 *)address->bytes = bpf_htonl(HAIRPIN_IPV4);
}

__force_inline bool is_hairpin_address(const struct ip_address *address, const enum family family)
{
	struct ip_address reserved;

	set_hairpin_address(&reserved, family);
	return same_ipv6(address, &reserved);
}

/* On its way from a pod through a Service to itself, or back. */
__force_inline bool is_hairpin(const struct passage *p)
{
	if (p->family == FAMILY_IPV4)
		return is_hairpin_address(&p->tuple.source, FAMILY_IPV4) ||
		       is_hairpin_address(&p->tuple.destination, FAMILY_IPV4);
	return is_hairpin_address(&p->tuple.source, FAMILY_IPV6) ||
	       is_hairpin_address(&p->tuple.destination, FAMILY_IPV6);
}

/* A packet as sent to the virtual address, as it goes to the backend. */
__force_inline void translate_tuple(struct tuple *to, const struct tuple *from, const struct ip_address *backend,
				    __be16 backend_port, __be16 client_port, const enum family family)
{
	*to = *from;
	to->destination = *backend;
	to->destination_port = backend_port;
	to->source_port = client_port;
	if (same_ipv6(backend, &from->source))
		set_hairpin_address(&to->source, family);
}

/* Is this the connection by which the client, from this port, reached this virtual address? */
__force_inline bool is_through(const struct conntrack_entry *entry, const struct tuple *asked)
{
	return entry->flags & CONNTRACK_THROUGH_SERVICE && entry->service.port == asked->destination_port &&
	       entry->service.client_port == asked->source_port &&
	       same_ipv6(&entry->service.address, &asked->destination);
}

/* ---- bytes ---- */

/* The checksum of transport or ICMP at `at` covers addresses that change by `difference`. */
__force_inline void change_pseudo_checksum(struct __sk_buff *ctx, __u32 at, __s64 difference, __u64 flags,
					   const enum family family)
{
	if (family == FAMILY_IPV6 &&
	    bpf_l4_csum_replace(ctx, at, 0, difference, flags | BPF_F_PSEUDO_HDR | CHECKSUM_IPV6) != -EINVAL)
		return;
	bpf_l4_csum_replace(ctx, at, 0, difference, flags | BPF_F_PSEUDO_HDR);
}

/* Both addresses of the IP header at `at`. They stand side by side in packets as in tuples. */
__force_inline void store_addresses(struct __sk_buff *ctx, __u32 at, const struct tuple *to, const enum family family)
{
	if (family == FAMILY_IPV4) {
		__be32 addresses[2] = { ipv4_of(&to->source), ipv4_of(&to->destination) };

		bpf_skb_store_bytes(ctx, at + IPV4_SOURCE_OFFSET, addresses, sizeof(addresses), 0);
	} else {
		bpf_skb_store_bytes(ctx, at + IPV6_SOURCE_OFFSET, &to->source, 2 * sizeof(to->source), 0);
	}
}

__force_inline __s64 address_difference(struct tuple *from, struct tuple *to)
{
	return bpf_csum_diff((__be32 *)&from->source, 2 * sizeof(from->source), (__be32 *)&to->source,
			     2 * sizeof(to->source), 0);
}

/* Both ports as one word, as they stand in the packet. */
__force_inline __be32 ports_of(const struct tuple *t)
{
	return *(const __be32 *)&t->source_port;
}

__force_inline void rewrite_family(struct __sk_buff *ctx, const struct passage *p, struct tuple *from, struct tuple *to,
				   const enum family family)
{
	__u32 transport = p->transport;
	__s64 difference = address_difference(from, to);

	if (family == FAMILY_IPV4)
		bpf_l3_csum_replace(ctx, ETH_HLEN + IPV4_CHECKSUM_OFFSET, 0, difference, 0);
	if (p->fragment != FRAGMENT_LATER && (from->protocol == IPPROTO_TCP || from->protocol == IPPROTO_UDP)) {
		__u64 flags = from->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
		__u32 at = transport + (from->protocol == IPPROTO_UDP ? UDP_CHECKSUM_OFFSET : TCP_CHECKSUM_OFFSET);
		__be32 ports = ports_of(to);

		change_pseudo_checksum(ctx, at, difference, flags, family);
		bpf_l4_csum_replace(ctx, at, ports_of(from), ports, flags | sizeof(ports));
		bpf_skb_store_bytes(ctx, transport, &ports, sizeof(ports), 0);
	}
	store_addresses(ctx, ETH_HLEN, to, family);
}

/* Turns the packet from `from` into `to`. */
__force_inline void rewrite(struct __sk_buff *ctx, const struct passage *p, struct tuple *from, struct tuple *to)
{
	if (p->family == FAMILY_IPV4)
		rewrite_family(ctx, p, from, to, FAMILY_IPV4);
	else
		rewrite_family(ctx, p, from, to, FAMILY_IPV6);
}

/* What judge_or_follow has decided is written into the packet. */
__apart int write_translation(struct __sk_buff *ctx)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();

	if (!t || !p)
		return -DROP_MALFORMED;
	if (p->translation == TRANSLATION_TO_BACKEND) {
		t->to = p->tuple;
		rewrite(ctx, p, &t->from, &t->to);
	} else if (p->translation == TRANSLATION_TO_CLIENT) {
		t->from = p->tuple;
		rewrite(ctx, p, &t->from, &t->to);
		p->tuple.destination = t->to.destination;
	}
	p->translation = TRANSLATION_WRITTEN;
	return 0;
}

/* Gives a pod its packet back as it sent it: before an answer to it quotes it. */
__apart int undo_translation(struct __sk_buff *ctx)
{
	struct translation_scratch *t = this_translation();
	struct passage *p = this_passage();

	if (!t || !p)
		return -DROP_MALFORMED;
	if (p->translation != TRANSLATION_WRITTEN)
		return 0;
	rewrite(ctx, p, &t->to, &t->from);
	p->translation = TRANSLATION_NONE;
	return 0;
}

/* The tuple by which the packet's other fragments know it. */
__force_inline const struct tuple *tuple_in_packet(const struct passage *p)
{
	const struct translation_scratch *t;

	if (!config_services || p->translation != TRANSLATION_TO_BACKEND)
		return &p->tuple;
	t = this_translation();
	return t ? &t->from : &p->tuple;
}
