/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connections: finding, following, making and ending entries. Whether one is allowed is judge.h's business. */
#pragma once
#include "lib/count.h"
#include "lib/parse.h"

/* Seconds without a packet after which an entry is free. RFC 5382 asks for 2h04 on established TCP; the rest follows
 * Linux' own conntrack, shorter where the other side never answered. */
#define TCP_OPENING_SECONDS     60
#define TCP_ESTABLISHED_SECONDS 8000
#define TCP_HALF_CLOSED_SECONDS 600
#define TCP_CLOSED_SECONDS      10
#define UDP_ASKED_SECONDS       30
#define UDP_ANSWERED_SECONDS    180
#define ECHO_SECONDS            30
#define OTHER_ASKED_SECONDS     60
#define OTHER_ANSWERED_SECONDS  180
/* What is left to a connection when it is revoked: as long as one waits for the answer to a question just put. */
#define LATE_REPLY_SECONDS UDP_ASKED_SECONDS

#define CONNTRACK_FIN_BOTH (CONNTRACK_FIN_INITIATOR | CONNTRACK_FIN_RESPONDER)

/* The two bytes of `flags` are written apart: see enum conntrack_flags. */
__force_inline __u8 *flag_byte(struct conntrack_entry *entry, const int high)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u8 *)&entry->flags + high;
#else
	return (__u8 *)&entry->flags + !high;
#endif
}

__force_inline __u16 judged_flag(__u32 side)
{
	return side == SIDE_INITIATOR ? CONNTRACK_EGRESS_JUDGED : CONNTRACK_INGRESS_JUDGED;
}

__force_inline bool port_below(__be16 left, __be16 right)
{
	return bpf_ntohs(left) < bpf_ntohs(right);
}

__force_inline bool source_is_low_ipv4(const struct tuple *t)
{
	__u32 source = bpf_ntohl(ipv4_of(&t->source)), destination = bpf_ntohl(ipv4_of(&t->destination));

	return source == destination ? !port_below(t->destination_port, t->source_port) : source < destination;
}

__force_inline bool source_is_low_ipv6(const struct tuple *t)
{
	for (int half = 0; half < 2; half++) {
		__u64 source = bpf_be64_to_cpu(ipv6_half(&t->source, half));
		__u64 destination = bpf_be64_to_cpu(ipv6_half(&t->destination, half));

		if (source != destination)
			return source < destination;
	}
	return !port_below(t->destination_port, t->source_port);
}

/* Sets the key of a tuple, and `*source_is_low`. */
__force_inline void conntrack_key_of(const struct tuple *t, union conntrack_key *key, __u8 *source_is_low,
				     const enum family family)
{
	bool low = family == FAMILY_IPV4 ? source_is_low_ipv4(t) : source_is_low_ipv6(t);

	*source_is_low = low;
	if (family == FAMILY_IPV4) {
		key->ipv4 = (struct conntrack_key4){
			.low_address = low ? ipv4_of(&t->source) : ipv4_of(&t->destination),
			.high_address = low ? ipv4_of(&t->destination) : ipv4_of(&t->source),
			.low_port = low ? t->source_port : t->destination_port,
			.high_port = low ? t->destination_port : t->source_port,
			.protocol = t->protocol,
		};
	} else {
		const struct ip_address *first = low ? &t->source : &t->destination;
		const struct ip_address *second = low ? &t->destination : &t->source;

		__builtin_memcpy(key->ipv6.low_address, first, sizeof(*first));
		__builtin_memcpy(key->ipv6.high_address, second, sizeof(*second));
		key->ipv6.low_port = low ? t->source_port : t->destination_port;
		key->ipv6.high_port = low ? t->destination_port : t->source_port;
		key->ipv6.protocol = t->protocol;
		__builtin_memset(key->ipv6.pad, 0, sizeof(key->ipv6.pad));
	}
}

/* The entry of a tuple, living or expired, or NULL. Sets `*source_is_low`; `key` stays for later writes. */
__force_inline struct conntrack_entry *conntrack_lookup(const struct tuple *t, union conntrack_key *key,
							__u8 *source_is_low, const enum family family)
{
	conntrack_key_of(t, key, source_is_low, family);
	return family == FAMILY_IPV4 ? bpf_map_lookup_elem(&conntrack4, &key->ipv4)
				     : bpf_map_lookup_elem(&conntrack6, &key->ipv6);
}

__force_inline __u32 sender_of(const struct conntrack_entry *entry, bool source_is_low)
{
	return !!(entry->flags & CONNTRACK_INITIATOR_IS_LOW) == source_is_low ? SIDE_INITIATOR : SIDE_RESPONDER;
}

__force_inline bool is_live(const struct conntrack_entry *entry, __u64 now)
{
	return entry->expires >= now;
}

__force_inline bool is_tcp(const struct passage *p)
{
	return p->tuple.protocol == IPPROTO_TCP;
}

__force_inline bool is_opening(const struct passage *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Is the packet part of the entry's connection, or does it begin another one? A SYN is part of it only when it repeats
 * the one that made the entry; an echo request only from the requester, its reply only from the other side. */
__force_inline bool belongs(const struct passage *p, const struct conntrack_entry *entry)
{
	if (is_opening(p))
		return p->sender == SIDE_INITIATOR && !(entry->flags & (CONNTRACK_ESTABLISHED | CONNTRACK_FIN_BOTH));
	if (is_icmp(p, p->family)) {
		bool request = p->icmp_type == (p->family == FAMILY_IPV4 ? ICMPV4_ECHO_REQUEST : ICMPV6_ECHO_REQUEST);

		return request == (p->sender == SIDE_INITIATOR);
	}
	return true;
}

/* Jiffies without a packet after which the connection, with these flags, has expired. */
__force_inline __u64 patience(const struct passage *p, __u8 flags)
{
	if (is_tcp(p)) {
		if (!(flags & CONNTRACK_FIN_BOTH))
			return seconds(flags & CONNTRACK_ESTABLISHED ? TCP_ESTABLISHED_SECONDS : TCP_OPENING_SECONDS);
		return seconds((flags & CONNTRACK_FIN_BOTH) == CONNTRACK_FIN_BOTH ? TCP_CLOSED_SECONDS
										  : TCP_HALF_CLOSED_SECONDS);
	}
	if (p->tuple.protocol == IPPROTO_UDP)
		return seconds(flags & CONNTRACK_REPLIED ? UDP_ANSWERED_SECONDS : UDP_ASKED_SECONDS);
	if (is_icmp(p, p->family))
		return seconds(ECHO_SECONDS);
	return seconds(flags & CONNTRACK_REPLIED ? OTHER_ANSWERED_SECONDS : OTHER_ASKED_SECONDS);
}

/* What this packet changes in the low byte of the flags. */
__force_inline __u8 next_flags(const struct passage *p, __u8 flags)
{
	if (p->sender == SIDE_RESPONDER)
		flags |= CONNTRACK_REPLIED;
	if (!is_tcp(p))
		return flags;
	if (p->sender == SIDE_INITIATOR && flags & CONNTRACK_REPLIED && p->tcp_flags & TCP_ACK)
		flags |= CONNTRACK_ESTABLISHED;
	if (p->tcp_flags & TCP_FIN)
		flags |= p->sender == SIDE_INITIATOR ? CONNTRACK_FIN_INITIATOR : CONNTRACK_FIN_RESPONDER;
	return flags;
}

/* Does this packet end the connection? A reset does, and the first pure ACK after both have sent their FIN. */
__force_inline bool is_last(const struct passage *p, __u8 flags_before)
{
	if (!p->tcp_flags)
		return false;
	if (p->tcp_flags & TCP_RST)
		return true;
	return (flags_before & CONNTRACK_FIN_BOTH) == CONNTRACK_FIN_BOTH && !(p->tcp_flags & (TCP_FIN | TCP_SYN));
}

__force_inline void count_traffic(const struct passage *p, struct conntrack_entry *entry)
{
	__u32 sender = p->sender & 1;

	__sync_fetch_and_add(&entry->packets[sender], 1);
	__sync_fetch_and_add(&entry->bytes[sender], p->length);
}

/* Written only when it moves by a second or more: the line is shared between the CPUs of both directions. */
__force_inline void renew(const struct passage *p, struct conntrack_entry *entry, __u8 flags)
{
	__u64 expires = p->now + patience(p, flags);
	__s64 moved = expires - entry->expires;

	if (moved >= (__s64)seconds(1) || moved <= -(__s64)seconds(1))
		entry->expires = expires;
}

/* The packet goes to that side of the connection (enum side). */
__force_inline void head_for(struct passage *p, const struct conntrack_entry *entry, __u32 side)
{
	p->target = entry->endpoint[side];
	p->node = entry->node[side];
	p->masquerade = !!(entry->flags & CONNTRACK_MASQUERADED);
	if (entry->flags & CONNTRACK_BY_STACK && p->direction == DIRECTION_EGRESS) {
		p->target = p->node = 0;
		p->by_stack = 1;
	}
}

/* Makes `key` that of the passage's tuple again. */
__apart int set_own_key(void)
{
	struct passage *p = this_passage();

	if (!p)
		return 0;
	if (p->family == FAMILY_IPV4)
		conntrack_key_of(&p->tuple, &p->key, &p->source_is_low, FAMILY_IPV4);
	else
		conntrack_key_of(&p->tuple, &p->key, &p->source_is_low, FAMILY_IPV6);
	return 0;
}

/* What the pods here ask for; where both do, the one that wants to know more is heard (enum aggregation). */
__force_inline __u32 aggregation_of(const struct passage *p)
{
	__u32 source = p->party[END_SOURCE].aggregation, destination = p->party[END_DESTINATION].aggregation;

	if (!source || !destination)
		return source | destination;
	return source < destination ? source : destination;
}

/* Writes the entry of a connection that was just allowed. */
__slow int conntrack_create(struct passage *p)
{
	__u32 sender = p->sender & 1, initiator = end_of(p, SIDE_INITIATOR), responder = end_of(p, SIDE_RESPONDER);
	__u8 flags = next_flags(p, p->source_is_low == (sender == SIDE_INITIATOR) ? CONNTRACK_INITIATOR_IS_LOW : 0);
	struct conntrack_entry entry = {
		.expires = p->now + patience(p, flags),
		.created = bpf_ktime_get_ns(),
		.reported = p->now,
		.identity = { p->party[initiator].identity, p->party[responder].identity },
		.endpoint = { p->party[initiator].endpoint, p->party[responder].endpoint },
		.node = { p->party[initiator].node, p->party[responder].node },
		.policy = { p->policy[DIRECTION_EGRESS], p->policy[DIRECTION_INGRESS] },
		.rule = { p->rule[DIRECTION_EGRESS], p->rule[DIRECTION_INGRESS] },
		.epoch = p->epoch,
		.flags = flags,
		.aggregation = aggregation_of(p),
	};

	if (p->party[initiator].endpoint)
		entry.flags |= CONNTRACK_EGRESS_JUDGED;
	if (p->party[responder].endpoint)
		entry.flags |= CONNTRACK_INGRESS_JUDGED;
	if (p->masquerade)
		entry.flags |= CONNTRACK_MASQUERADED;
	if (p->by_stack)
		entry.flags |= CONNTRACK_BY_STACK;
	if (sender == SIDE_INITIATOR) {
		entry.packets[SIDE_INITIATOR] = 1;
		entry.bytes[SIDE_INITIATOR] = p->length;
		entry.tcp_flags[SIDE_INITIATOR] = p->tcp_flags;
	} else {
		entry.packets[SIDE_RESPONDER] = 1;
		entry.bytes[SIDE_RESPONDER] = p->length;
		entry.tcp_flags[SIDE_RESPONDER] = p->tcp_flags;
	}
	count(COUNTER_CONNTRACK_NEW);
	if (p->family == FAMILY_IPV4)
		return bpf_map_update_elem(&conntrack4, &p->key.ipv4, &entry, BPF_ANY);
	return bpf_map_update_elem(&conntrack6, &p->key.ipv6, &entry, BPF_ANY);
}

/* 0 when this call removed the entry, so that exactly one packet reports the end. */
__force_inline int conntrack_remove(struct passage *p)
{
	if (p->family == FAMILY_IPV4)
		return bpf_map_delete_elem(&conntrack4, &p->key.ipv4);
	return bpf_map_delete_elem(&conntrack6, &p->key.ipv6);
}
