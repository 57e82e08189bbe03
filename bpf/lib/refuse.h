/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Turns a pod's packet into the refusal it gets back from the virtual address: a TCP reset, or "port unreachable" for a
 * datagram. RFC 9293 section 3.10.7.1, RFC 1122 section 3.2.2.1, RFC 4443 section 3.1. */
#pragma once
#include "lib/checksum.h"
#include "lib/parse.h"

#define REFUSAL_TTL             64
#define ICMPV4_PORT_UNREACHABLE 3
#define ICMPV6_PORT_UNREACHABLE 4
/* Of the quoted packet's transport: enough to find the socket. */
#define QUOTED_TRANSPORT 8

struct unreachable_ipv4 {
	struct icmp_header icmp;
	__u8 quote[sizeof(struct iphdr) + QUOTED_TRANSPORT];
};

struct unreachable_ipv6 {
	struct icmp_header icmp;
	__u8 quote[sizeof(struct ipv6hdr) + QUOTED_TRANSPORT];
};

struct pseudo_header_ipv4 {
	__be32 source;
	__be32 destination;
	__be16 protocol; /* a zero before it */
	__be16 length;
};

/* The message behind the IP header, and the room for what its checksum covers. */
struct refusal {
	union {
		struct tcphdr reset;
		struct unreachable_ipv4 ipv4;
		struct unreachable_ipv6 ipv6;
	} message __attribute__((aligned(8)));
	union {
		struct pseudo_header_ipv4 ipv4;
		struct pseudo_header ipv6;
	} pseudo __attribute__((aligned(8)));
	union {
		struct iphdr ipv4;
		struct ipv6hdr ipv6;
	} ip __attribute__((aligned(8)));
};

/* A reset is not answered. */
__force_inline bool make_reset(struct __sk_buff *ctx, const struct passage *p, struct tcphdr *reset)
{
	struct tcphdr tcp;
	__u32 payload;

	if (p->tcp_flags & TCP_RST || bpf_skb_load_bytes(ctx, p->transport, &tcp, sizeof(tcp)))
		return false;
	payload = p->length - (p->transport - ETH_HLEN) - tcp.doff * 4;
	__builtin_memset(reset, 0, sizeof(*reset));
	reset->source = tcp.dest;
	reset->dest = tcp.source;
	reset->doff = sizeof(*reset) / 4;
	reset->rst = 1;
	if (tcp.ack) {
		reset->seq = tcp.ack_seq;
	} else {
		reset->ack = 1;
		reset->ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + payload + tcp.syn + tcp.fin);
	}
	return true;
}

__force_inline __u16 checksum(void *pseudo, __u32 pseudo_size, void *message, __u32 size)
{
	__s64 sum = bpf_csum_diff(NULL, 0, pseudo, pseudo_size, 0);

	return fold_checksum(bpf_csum_diff(NULL, 0, message, size, sum));
}

/* Puts the refusal in the packet's place, from the address that was asked to the pod. */
__force_inline bool store_refusal(struct __sk_buff *ctx, const void *ip, const __u32 ip_size, const void *message,
				  const __u32 size)
{
	struct {
		struct mac_address destination;
		__u8 source[ETH_ALEN];
	} macs = { .source = GATEWAY_MAC };

	return !bpf_skb_load_bytes(ctx, ETH_ALEN, &macs.destination, ETH_ALEN) &&
	       !bpf_skb_change_tail(ctx, ETH_HLEN + ip_size + size, 0) &&
	       !bpf_skb_store_bytes(ctx, 0, &macs, sizeof(macs), 0) &&
	       !bpf_skb_store_bytes(ctx, ETH_HLEN, ip, ip_size, 0) &&
	       !bpf_skb_store_bytes(ctx, ETH_HLEN + ip_size, message, size, 0);
}

__force_inline bool refuse_ipv4(struct __sk_buff *ctx, const struct passage *p, struct refusal *r)
{
	const bool tcp = p->tuple.protocol == IPPROTO_TCP;
	const __u32 size = tcp ? sizeof(struct tcphdr) : sizeof(struct unreachable_ipv4);

	__builtin_memset(&r->ip.ipv4, 0, sizeof(r->ip.ipv4));
	r->ip.ipv4.version = 4;
	r->ip.ipv4.ihl = sizeof(struct iphdr) / 4;
	r->ip.ipv4.ttl = REFUSAL_TTL;
	r->ip.ipv4.tot_len = bpf_htons(sizeof(struct iphdr) + size);
	r->ip.ipv4.protocol = tcp ? IPPROTO_TCP : IPPROTO_ICMP;
	r->ip.ipv4.saddr = ipv4_of(&p->tuple.destination);
	r->ip.ipv4.daddr = ipv4_of(&p->tuple.source);
	r->ip.ipv4.check = fold_checksum(bpf_csum_diff(NULL, 0, (__be32 *)&r->ip.ipv4, sizeof(r->ip.ipv4), 0));
	if (tcp) {
		r->pseudo.ipv4 = (struct pseudo_header_ipv4){
			.source = r->ip.ipv4.saddr,
			.destination = r->ip.ipv4.daddr,
			.protocol = bpf_htons(IPPROTO_TCP),
			.length = bpf_htons(sizeof(struct tcphdr)),
		};
		if (!make_reset(ctx, p, &r->message.reset))
			return false;
		r->message.reset.check =
			checksum(&r->pseudo.ipv4, sizeof(r->pseudo.ipv4), &r->message.reset, sizeof(r->message.reset));
		return store_refusal(ctx, &r->ip.ipv4, sizeof(r->ip.ipv4), &r->message.reset, sizeof(r->message.reset));
	}
	/* with options the quote would miss the ports */
	if (p->transport != ETH_HLEN + sizeof(struct iphdr))
		return false;
	r->message.ipv4.icmp = (struct icmp_header){ .type = ICMPV4_UNREACHABLE, .code = ICMPV4_PORT_UNREACHABLE };
	if (bpf_skb_load_bytes(ctx, ETH_HLEN, r->message.ipv4.quote, sizeof(r->message.ipv4.quote)))
		return false;
	r->message.ipv4.icmp.checksum =
		fold_checksum(bpf_csum_diff(NULL, 0, (__be32 *)&r->message.ipv4, sizeof(r->message.ipv4), 0));
	return store_refusal(ctx, &r->ip.ipv4, sizeof(r->ip.ipv4), &r->message.ipv4, sizeof(r->message.ipv4));
}

__force_inline bool refuse_ipv6(struct __sk_buff *ctx, const struct passage *p, struct refusal *r)
{
	const bool tcp = p->tuple.protocol == IPPROTO_TCP;
	const __u32 size = tcp ? sizeof(struct tcphdr) : sizeof(struct unreachable_ipv6);

	__builtin_memset(&r->ip.ipv6, 0, sizeof(r->ip.ipv6));
	r->ip.ipv6.version = 6;
	r->ip.ipv6.hop_limit = REFUSAL_TTL;
	r->ip.ipv6.payload_len = bpf_htons(size);
	r->ip.ipv6.nexthdr = tcp ? IPPROTO_TCP : IPPROTO_ICMPV6;
	__builtin_memcpy(&r->ip.ipv6.saddr, &p->tuple.destination, sizeof(r->ip.ipv6.saddr));
	__builtin_memcpy(&r->ip.ipv6.daddr, &p->tuple.source, sizeof(r->ip.ipv6.daddr));
	__builtin_memcpy(&r->pseudo.ipv6.source, &r->ip.ipv6.saddr, 2 * sizeof(struct in6_addr));
	r->pseudo.ipv6.length = bpf_htonl(size);
	r->pseudo.ipv6.next = bpf_htonl(r->ip.ipv6.nexthdr);
	if (tcp) {
		if (!make_reset(ctx, p, &r->message.reset))
			return false;
		r->message.reset.check =
			checksum(&r->pseudo.ipv6, sizeof(r->pseudo.ipv6), &r->message.reset, sizeof(r->message.reset));
		return store_refusal(ctx, &r->ip.ipv6, sizeof(r->ip.ipv6), &r->message.reset, sizeof(r->message.reset));
	}
	if (p->transport != ETH_HLEN + sizeof(struct ipv6hdr))
		return false;
	r->message.ipv6.icmp = (struct icmp_header){ .type = ICMPV6_UNREACHABLE, .code = ICMPV6_PORT_UNREACHABLE };
	if (bpf_skb_load_bytes(ctx, ETH_HLEN, r->message.ipv6.quote, sizeof(r->message.ipv6.quote)))
		return false;
	r->message.ipv6.icmp.checksum =
		checksum(&r->pseudo.ipv6, sizeof(r->pseudo.ipv6), &r->message.ipv6, sizeof(r->message.ipv6));
	return store_refusal(ctx, &r->ip.ipv6, sizeof(r->ip.ipv6), &r->message.ipv6, sizeof(r->message.ipv6));
}

/* The pod's packet is to be dropped, and is the refusal from now on. 0: send it back; else there is none to be sent. */
__apart int make_refusal(struct __sk_buff *ctx)
{
	struct passage *p = this_passage();
	struct refusal r;

	if (!p || p->fragment == FRAGMENT_LATER)
		return -1;
	if (p->family == FAMILY_IPV4)
		return refuse_ipv4(ctx, p, &r) ? 0 : -1;
	return refuse_ipv6(ctx, p, &r) ? 0 : -1;
}
