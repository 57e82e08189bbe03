/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A frame as XDP sees it: no skb, only bytes; from tc likewise. Reads no more than who sends it and whether it is for a
 * UDP port. */
#pragma once
#include "lib/parse.h"

/* Bytes of headers looked at, at most; it tells the verifier the bound. */
#define FRAME_HEADERS_MAX 512

struct frame {
	__u32 length; /* IP bytes, as the header says */
	__u8 family;  /* enum family; 0 = not IP, or too short to tell */
	__u8 protocol;
	__u8 has_ports; /* UDP, whole or the first fragment */
	__u8 is_cut;    /* a header lies beyond what is at hand */
	__be16 source_port;
	__be16 destination_port;
	struct ip_address source;
	struct ip_address destination;
};

/* The bytes of a frame that are at hand, from its Ethernet header on. */
struct span {
	void *begin;
	void *end;
};

/* `size` bytes at `offset`, or NULL. */
__force_inline void *frame_header(const struct span *bytes, struct frame *f, __u32 offset, const __u32 size)
{
	void *at;

	if (offset > FRAME_HEADERS_MAX)
		return NULL;
	at = bytes->begin + offset;
	if (at + size <= bytes->end)
		return at;
	f->is_cut = 1;
	return NULL;
}

__force_inline void read_ports(const struct span *bytes, struct frame *f, __u32 offset)
{
	struct udphdr *udp;

	if (f->protocol != IPPROTO_UDP || !(udp = frame_header(bytes, f, offset, sizeof(*udp))))
		return;
	f->has_ports = 1;
	f->source_port = udp->source;
	f->destination_port = udp->dest;
}

__force_inline void read_frame_ipv4(const struct span *bytes, struct frame *f, __u32 offset)
{
	struct iphdr *ip = frame_header(bytes, f, offset, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return;
	f->family = FAMILY_IPV4;
	f->length = bpf_ntohs(ip->tot_len);
	f->protocol = ip->protocol;
	*(__be32 *)f->source.bytes = ip->saddr;
	*(__be32 *)f->destination.bytes = ip->daddr;
	if (!(ip->frag_off & bpf_htons(IPV4_OFFSET_MASK)))
		read_ports(bytes, f, offset + ip->ihl * 4);
}

/* A chain of extension headers that is too long to follow hides the port: such a packet goes to the stack like any
 * other, and from_tunnel asks once more. */
__force_inline void read_frame_ipv6(const struct span *bytes, struct frame *f, __u32 offset)
{
	struct ipv6hdr *ip = frame_header(bytes, f, offset, sizeof(*ip));
	struct ipv6_extension *extension;

	if (!ip || ip->version != 6)
		return;
	f->family = FAMILY_IPV6;
	f->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	f->protocol = ip->nexthdr;
	__builtin_memcpy(&f->source, &ip->saddr, 2 * sizeof(struct ip_address));
	offset += sizeof(*ip);
	for (int i = 0; i < IPV6_EXT_MAX_CHAIN; i++) {
		if (f->protocol != IPPROTO_HOPOPTS && f->protocol != IPPROTO_ROUTING &&
		    f->protocol != IPPROTO_FRAGMENT && f->protocol != IPPROTO_DSTOPTS && f->protocol != IPPROTO_AH)
			break;
		extension = frame_header(bytes, f, offset, sizeof(*extension));
		if (!extension)
			return;
		if (f->protocol == IPPROTO_FRAGMENT && extension->first & bpf_htons(IPV6_OFFSET_MASK))
			return;
		offset += f->protocol == IPPROTO_FRAGMENT ? 8
			  : f->protocol == IPPROTO_AH     ? 8 + extension->length * 4
							  : 8 + extension->length * 8;
		f->protocol = extension->next;
	}
	read_ports(bytes, f, offset);
}

/* Behind up to two VLAN tags, where the card has not taken them off. */
__force_inline void read_frame(const struct span *bytes, struct frame *f)
{
	struct ethhdr *ethernet = frame_header(bytes, f, 0, sizeof(*ethernet));
	__u32 offset = sizeof(*ethernet);
	__be16 protocol, *inner;

	if (!ethernet)
		return;
	protocol = ethernet->h_proto;
	for (int i = 0; i < 2; i++) {
		if (protocol != bpf_htons(ETHERTYPE_VLAN) && protocol != bpf_htons(ETHERTYPE_QINQ))
			break;
		inner = frame_header(bytes, f, offset + 2, sizeof(*inner));
		if (!inner)
			return;
		protocol = *inner;
		offset += 4;
	}
	if (protocol == bpf_htons(ETH_P_IP))
		read_frame_ipv4(bytes, f, offset);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		read_frame_ipv6(bytes, f, offset);
}
