/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reads a packet into a struct passage. Only advances and checks bounds; what the fields mean is decided elsewhere. */
#pragma once
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include "lib/passage.h"

/* Extension headers before the transport header, at most. Real packets have one or two. */
#define IPV6_EXT_MAX_CHAIN 6

#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
/* Below this the field is a length (IEEE 802.3), not a type. */
#define ETHERTYPE_MIN 0x0600

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK    0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_OFFSET_MASK    0xfff8
#define IP_MAX_LENGTH       65535

#define IPV4_OPTION_END                 0
#define IPV4_OPTION_NOP                 1
#define IPV4_OPTION_LOOSE_SOURCE_ROUTE  131
#define IPV4_OPTION_STRICT_SOURCE_ROUTE 137
#define IPV6_OPTION_JUMBO               194

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* <linux/icmp.h> and <linux/if_arp.h> pull in the C library's socket headers, which clang -target bpf cannot read. */
#define ICMPV4_ECHO_REPLY        0
#define ICMPV4_UNREACHABLE       3
#define ICMPV4_SOURCE_QUENCH     4
#define ICMPV4_ECHO_REQUEST      8
#define ICMPV4_TIME_EXCEEDED     11
#define ICMPV4_PARAMETER_PROBLEM 12
#define ICMPV6_UNREACHABLE       1
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_ECHO_REQUEST      128
#define ICMPV6_ECHO_REPLY        129

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id; /* of an echo */
	__be16 sequence;
};

struct sctp_ports {
	__be16 source;
	__be16 destination;
	__be32 tag;
	__le32 checksum;
};

struct ipv6_extension {
	__u8 next;
	__u8 length;  /* in units of 8 bytes, without the first 8; AH: of 4 bytes, without the first 8 */
	__be16 first; /* fragment header: offset and flags; hop-by-hop: type and length of the first option */
	__be32 id;
};

/* Where the next header begins, and how much of the IP packet is left there. */
struct cursor {
	__u64 offset;
	__u32 left;
};

/* Offsets grow by at most 2 KiB per extension header, so the mask changes none; it tells old verifiers the bound. */
#define OFFSET_MASK 0x3fff

/* Loads of the two packet pointers, in assembly so that the compiler cannot share the address computation between them:
 * the verifier allows no pointer into the context but the context itself. */
__force_inline void *packet_begin(const struct __sk_buff *ctx)
{
	void *begin;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(begin)
		     : "r"(ctx), "i"(__builtin_offsetof(struct __sk_buff, data)));
	return begin;
}

__force_inline void *packet_end(const struct __sk_buff *ctx)
{
	void *end;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(end)
		     : "r"(ctx), "i"(__builtin_offsetof(struct __sk_buff, data_end)));
	return end;
}

/* `size` bytes at `offset`, or NULL. Offsets rather than pointers are kept, so that pulling bytes out of a paged skb
 * invalidates nothing that is still needed. */
__force_inline void *header(struct __sk_buff *ctx, __u64 offset, const __u32 size)
{
	void *at;

	asm volatile("" : "+r"(offset));
	offset &= OFFSET_MASK;
	at = packet_begin(ctx) + offset;
	if (at + size <= packet_end(ctx))
		return at;
	if (bpf_skb_pull_data(ctx, offset + size))
		return NULL;
	at = packet_begin(ctx) + offset;
	return at + size <= packet_end(ctx) ? at : NULL;
}

/* Options looked at, at most. Real packets have one or two, with no-ops between. */
#define IPV4_OPTIONS_MAX 16

/* Source routes hand the choice of the path, and with it of the destination, to the sender. Others are harmless.
 * https://www.rfc-editor.org/rfc/rfc7126#section-4.3 */
__apart int check_ipv4_options(struct __sk_buff *ctx, __u32 options_length)
{
	__u32 at = ETH_HLEN + sizeof(struct iphdr), end = at + options_length;
	__u8 option[2];

	for (int i = 0; i < IPV4_OPTIONS_MAX; i++) {
		if (at >= end)
			return 0;
		if (bpf_skb_load_bytes(ctx, at, option, sizeof(option)))
			return -DROP_MALFORMED;
		if (option[0] == IPV4_OPTION_END)
			return 0;
		if (option[0] == IPV4_OPTION_NOP) {
			at += 1;
			continue;
		}
		if (option[0] == IPV4_OPTION_LOOSE_SOURCE_ROUTE || option[0] == IPV4_OPTION_STRICT_SOURCE_ROUTE)
			return -DROP_IP_OPTIONS;
		if (option[1] < 2 || at + option[1] > end)
			return -DROP_MALFORMED;
		at += option[1];
	}
	return at < end ? -DROP_IP_OPTIONS : 0;
}

/* IPv4 header at the cursor; leaves it at the transport header. */
__force_inline int parse_ipv4(struct __sk_buff *ctx, struct passage *p, struct cursor *cursor)
{
	struct iphdr *ip = header(ctx, ETH_HLEN, sizeof(*ip));
	__u32 header_length, length, fragment;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return -DROP_MALFORMED;
	header_length = ip->ihl * 4;
	length = bpf_ntohs(ip->tot_len);
	if (length < header_length || length > ctx->len - ETH_HLEN)
		return -DROP_MALFORMED;
	p->family = FAMILY_IPV4;
	p->length = length;
	*(__be32 *)p->tuple.source.bytes = ip->saddr;
	*(__be32 *)p->tuple.destination.bytes = ip->daddr;
	p->tuple.protocol = ip->protocol;
	cursor->offset = ETH_HLEN + header_length;
	cursor->left = length - header_length;

	fragment = bpf_ntohs(ip->frag_off) & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK);
	if (fragment) {
		p->fragment = fragment & IPV4_OFFSET_MASK ? FRAGMENT_LATER : FRAGMENT_FIRST;
		p->fragment_id = ip->id;
		fragment = (fragment & IPV4_OFFSET_MASK) * 8;
		if (fragment + cursor->left > IP_MAX_LENGTH)
			return -DROP_MALFORMED;
		p->fragment_offset = fragment;
	}
	if (header_length > sizeof(*ip))
		return check_ipv4_options(ctx, header_length - sizeof(*ip));
	return 0;
}

__force_inline bool is_ipv6_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH;
}

/* Walks the extension headers from `offset` with `left` bytes behind it. Sets protocol and fragment fields.
 * Returns the length of the chain, or a drop reason. */
__slow int walk_ipv6_extensions(struct __sk_buff *ctx, struct passage *p, __u32 left)
{
	__u32 offset = ETH_HLEN + sizeof(struct ipv6hdr), at = 0;
	__u8 protocol = p->tuple.protocol;
	struct ipv6_extension extension;
	__u32 length, fragment;

	for (int i = 0; i < IPV6_EXT_MAX_CHAIN; i++) {
		if (!is_ipv6_extension(protocol)) {
			p->tuple.protocol = protocol;
			return at;
		}
		if (protocol == IPPROTO_ROUTING)
			return -DROP_IP_OPTIONS;
		/* Behind a fragment header only the first fragment has the rest of the chain: later ones could not be
		 * told apart. */
		if (p->fragment != FRAGMENT_WHOLE)
			return -DROP_EXTENSION_CHAIN;
		if (at + sizeof(extension) > left ||
		    bpf_skb_load_bytes(ctx, offset + at, &extension, sizeof(extension)))
			return -DROP_MALFORMED;
		length = 8 + extension.length * 8;
		if (protocol == IPPROTO_HOPOPTS && (i > 0 || bpf_ntohs(extension.first) >> 8 == IPV6_OPTION_JUMBO))
			return -DROP_EXTENSION_CHAIN;
		if (protocol == IPPROTO_AH)
			length = 8 + extension.length * 4;
		if (protocol == IPPROTO_FRAGMENT) {
			length = 8;
			fragment = bpf_ntohs(extension.first);
			/* offset 0 without more is a whole packet: RFC 6946 */
			if (fragment & (IPV6_OFFSET_MASK | IPV6_MORE_FRAGMENTS)) {
				p->fragment = fragment & IPV6_OFFSET_MASK ? FRAGMENT_LATER : FRAGMENT_FIRST;
				p->fragment_id = extension.id;
				p->fragment_offset = fragment & IPV6_OFFSET_MASK;
			}
		}
		at += length;
		if (at > left)
			return -DROP_MALFORMED;
		protocol = extension.next;
	}
	if (is_ipv6_extension(protocol))
		return -DROP_EXTENSION_CHAIN;
	p->tuple.protocol = protocol;
	return at;
}

/* IPv6 header and extension headers; leaves the cursor at the transport header. */
__force_inline int parse_ipv6(struct __sk_buff *ctx, struct passage *p, struct cursor *cursor)
{
	struct ipv6hdr *ip = header(ctx, ETH_HLEN, sizeof(*ip));
	__u32 length;
	int chain;

	if (!ip || ip->version != 6)
		return -DROP_MALFORMED;
	length = bpf_ntohs(ip->payload_len);
	if (!length && ip->nexthdr == IPPROTO_HOPOPTS)
		return -DROP_EXTENSION_CHAIN; /* a jumbogram: RFC 2675 */
	if (length + sizeof(*ip) > ctx->len - ETH_HLEN)
		return -DROP_MALFORMED;
	p->family = FAMILY_IPV6;
	p->length = length + sizeof(*ip);
	__builtin_memcpy(&p->tuple.source, &ip->saddr, 2 * sizeof(struct ip_address));
	p->tuple.protocol = ip->nexthdr;
	cursor->offset = ETH_HLEN + sizeof(*ip);
	cursor->left = length;
	if (!is_ipv6_extension(ip->nexthdr))
		return 0;
	chain = walk_ipv6_extensions(ctx, p, length);
	if (chain < 0)
		return chain;
	cursor->offset += chain;
	cursor->left -= chain;
	if (p->fragment_offset + cursor->left > IP_MAX_LENGTH)
		return -DROP_MALFORMED;
	return 0;
}

__force_inline int parse_tcp(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor)
{
	struct tcphdr *tcp = header(ctx, cursor->offset, sizeof(*tcp));
	__u32 header_length;

	if (!tcp)
		return -DROP_MALFORMED;
	header_length = tcp->doff * 4;
	if (header_length < sizeof(*tcp))
		return -DROP_MALFORMED;
	if (header_length > cursor->left)
		return p->fragment ? -DROP_FRAGMENT_TINY : -DROP_MALFORMED;
	p->tuple.source_port = tcp->source;
	p->tuple.destination_port = tcp->dest;
	p->tcp_flags = ((__u8 *)tcp)[13];
	p->no_payload = header_length == cursor->left;
	/* No stack sends a SYN that also ends the connection. */
	if (p->tcp_flags & TCP_SYN && p->tcp_flags & (TCP_FIN | TCP_RST))
		return -DROP_MALFORMED;
	return 0;
}

__force_inline int parse_udp(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor)
{
	struct udphdr *udp = header(ctx, cursor->offset, sizeof(*udp));

	if (!udp || bpf_ntohs(udp->len) < sizeof(*udp))
		return -DROP_MALFORMED;
	if (!p->fragment && bpf_ntohs(udp->len) > cursor->left)
		return -DROP_MALFORMED;
	p->tuple.source_port = udp->source;
	p->tuple.destination_port = udp->dest;
	return 0;
}

/* The layouts of ICMP and ICMPv6 agree in all that is read here. */
__force_inline int parse_icmp(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
			      const enum family family)
{
	struct icmp_header *icmp = header(ctx, cursor->offset, sizeof(*icmp));
	const __u8 request = family == FAMILY_IPV4 ? ICMPV4_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	const __u8 reply = family == FAMILY_IPV4 ? ICMPV4_ECHO_REPLY : ICMPV6_ECHO_REPLY;

	if (!icmp)
		return -DROP_MALFORMED;
	p->icmp_type = icmp->type;
	p->icmp_code = icmp->code;
	if (icmp->type == request)
		p->tuple.source_port = icmp->id;
	if (icmp->type == reply)
		p->tuple.destination_port = icmp->id;
	return 0;
}

/* Echo has connections; errors belong to somebody else's; the rest stands alone. An echo with a code is none. */
__force_inline void classify_icmp(struct passage *p, const enum family family)
{
	const __u8 request = family == FAMILY_IPV4 ? ICMPV4_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	const __u8 reply = family == FAMILY_IPV4 ? ICMPV4_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	const __u8 type = p->icmp_type;
	bool quoting;

	if (family == FAMILY_IPV4)
		quoting = type == ICMPV4_UNREACHABLE || type == ICMPV4_SOURCE_QUENCH || type == ICMPV4_TIME_EXCEEDED ||
			  type == ICMPV4_PARAMETER_PROBLEM;
	else
		quoting = type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM;
	if (quoting)
		p->conversation = CONVERSATION_QUOTING;
	else if (p->icmp_code || (type != request && type != reply))
		p->conversation = CONVERSATION_UNTRACKED;
}

__force_inline bool is_icmp(const struct passage *p, const enum family family)
{
	return p->tuple.protocol == (family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* Has the protocol ports that a rule can name? ICMP's are type and code. */
__force_inline bool has_ports(const struct passage *p)
{
	return p->tuple.protocol == IPPROTO_TCP || p->tuple.protocol == IPPROTO_UDP ||
	       p->tuple.protocol == IPPROTO_SCTP || is_icmp(p, p->family);
}

/* Bytes of transport header that must come in one piece; 0 where nothing is read. */
__force_inline __u32 transport_length(const struct passage *p, const enum family family)
{
	if (p->tuple.protocol == IPPROTO_TCP)
		return sizeof(struct tcphdr);
	if (p->tuple.protocol == IPPROTO_UDP)
		return sizeof(struct udphdr);
	if (p->tuple.protocol == IPPROTO_SCTP)
		return sizeof(struct sctp_ports);
	return is_icmp(p, family) ? sizeof(struct icmp_header) : 0;
}

/* Ports, flags and types. Protocols without ports (ESP, GRE, an unknown next header) keep port 0. */
__force_inline int parse_transport(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
				   const enum family family)
{
	if (p->fragment == FRAGMENT_LATER)
		return p->fragment_offset < transport_length(p, family) ? -DROP_FRAGMENT_OVERLAP : 0;
	if (cursor->left < transport_length(p, family))
		return p->fragment ? -DROP_FRAGMENT_TINY : -DROP_MALFORMED;
	if (p->tuple.protocol == IPPROTO_TCP)
		return parse_tcp(ctx, p, cursor);
	if (p->tuple.protocol == IPPROTO_UDP)
		return parse_udp(ctx, p, cursor);
	if (is_icmp(p, family))
		return parse_icmp(ctx, p, cursor, family);
	if (p->tuple.protocol == IPPROTO_SCTP) {
		struct sctp_ports *sctp = header(ctx, cursor->offset, sizeof(*sctp));

		if (!sctp)
			return -DROP_MALFORMED;
		p->tuple.source_port = sctp->source;
		p->tuple.destination_port = sctp->destination;
	}
	return 0;
}
