/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Out of a pod and not into another of this node: by the tunnel, or by the stack's routes. What is too large for the
 * way is answered here, so that nothing is fragmented on it or lost in silence. */
#pragma once
#include "abi/mark.h"
#include "lib/checksum.h"
#include "lib/emit.h"
#include "lib/parse.h"
#include "lib/tunnel.h"

/* How much of the packet an answer quotes, whatever its headers: RFC 792 asks for 8 bytes behind the IP header, RFC
 * 4443 for as much as fits. All IPv4 options and a TCP header without options are within. */
#define QUOTE_LENGTH 128

#define ICMPV4_FRAGMENTATION_NEEDED 4
#define ICMPV6_PACKET_TOO_BIG       2
#define ANSWER_TTL                  64

/* The frame begins two bytes in, so that what is summed up is aligned, as csum_diff wants it. */
struct too_big_ipv4 {
	__u8 pad[2];
	struct ethhdr ethernet;
	struct iphdr ip;
	struct {
		__u8 type;
		__u8 code;
		__sum16 checksum;
		__be16 unused;
		__be16 mtu; /* RFC 1191 */
		__u8 quote[QUOTE_LENGTH];
	} icmp;
} __attribute__((packed, aligned(8)));

struct too_big_ipv6 {
	__u8 pad[2];
	struct ethhdr ethernet;
	struct ipv6hdr ip;
	struct {
		__u8 type;
		__u8 code;
		__sum16 checksum;
		__be32 mtu; /* RFC 4443 section 3.2 */
		__u8 quote[QUOTE_LENGTH];
	} icmp;
} __attribute__((packed, aligned(8)));

/* Puts `length` bytes in the place of the packet, which is longer. */
__force_inline int replace_frame(struct __sk_buff *ctx, const void *frame, const __u32 length)
{
	if (bpf_skb_change_tail(ctx, length, 0) || bpf_skb_store_bytes(ctx, 0, frame, length, 0))
		return -DROP_TOO_BIG;
	return OUTCOME_ANSWER;
}

/* Turns the packet into the answer "fragmentation needed", from the pod's gateway. */
__slow int answer_too_big_ipv4(struct __sk_buff *ctx, struct passage *p, const struct endpoint *pod, __u32 mtu)
{
	struct too_big_ipv4 answer = {
		.ethernet = { .h_source = GATEWAY_MAC, .h_proto = bpf_htons(ETH_P_IP) },
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(answer.ip) + sizeof(answer.icmp)),
			.ttl = ANSWER_TTL,
			.protocol = IPPROTO_ICMP,
			.saddr = bpf_htonl(GATEWAY_IPV4),
			.daddr = ipv4_of(&p->tuple.source),
		},
		.icmp = {
			.type = ICMPV4_UNREACHABLE,
			.code = ICMPV4_FRAGMENTATION_NEEDED,
			.mtu = bpf_htons(mtu),
		},
	};

	__builtin_memcpy(answer.ethernet.h_dest, pod->mac.bytes, ETH_ALEN);
	if (bpf_skb_load_bytes(ctx, ETH_HLEN, answer.icmp.quote, QUOTE_LENGTH))
		return -DROP_TOO_BIG;
	answer.ip.check = fold_checksum(bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip, sizeof(answer.ip), 0));
	answer.icmp.checksum = fold_checksum(bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), 0));
	return replace_frame(ctx, &answer.ethernet, sizeof(answer) - sizeof(answer.pad));
}

/* Likewise "packet too big". */
__slow int answer_too_big_ipv6(struct __sk_buff *ctx, struct passage *p, const struct endpoint *pod, __u32 mtu)
{
	struct too_big_ipv6 answer = {
		.ethernet = { .h_source = GATEWAY_MAC, .h_proto = bpf_htons(ETH_P_IPV6) },
		.ip = {
			.version = 6,
			.payload_len = bpf_htons(sizeof(answer.icmp)),
			.nexthdr = IPPROTO_ICMPV6,
			.hop_limit = ANSWER_TTL,
			.saddr = { { GATEWAY_IPV6 } },
		},
		.icmp = { .type = ICMPV6_PACKET_TOO_BIG, .mtu = bpf_htonl(mtu) },
	};
	struct pseudo_header pseudo = {
		.length = bpf_htonl(sizeof(answer.icmp)),
		.next = bpf_htonl(IPPROTO_ICMPV6),
		.source = { { GATEWAY_IPV6 } },
	};
	__s64 sum;

	__builtin_memcpy(answer.ethernet.h_dest, pod->mac.bytes, ETH_ALEN);
	__builtin_memcpy(&answer.ip.daddr, &p->tuple.source, sizeof(answer.ip.daddr));
	__builtin_memcpy(&pseudo.destination, &p->tuple.source, sizeof(pseudo.destination));
	if (bpf_skb_load_bytes(ctx, ETH_HLEN, answer.icmp.quote, QUOTE_LENGTH))
		return -DROP_TOO_BIG;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), sum);
	answer.icmp.checksum = fold_checksum(sum);
	return replace_frame(ctx, &answer.ethernet, sizeof(answer) - sizeof(answer.pad));
}

/* IP bytes of the largest packet that will be on the wire: of what the pod's kernel has joined, that of one segment. */
__force_inline __u32 length_on_wire(struct __sk_buff *ctx, const struct passage *p, const struct cursor *cursor)
{
	__u32 headers = cursor->offset - ETH_HLEN, segment = ctx->gso_size;
	struct tcphdr tcp;

	if (!segment)
		return p->length;
	if (p->tuple.protocol != IPPROTO_TCP)
		return headers + sizeof(struct udphdr) + segment;
	if (bpf_skb_load_bytes(ctx, cursor->offset, &tcp, sizeof(tcp)))
		return p->length;
	return headers + tcp.doff * 4 + segment;
}

/* 0: it fits. Else the packet counts as dropped, and has become the answer. With a tunnel the path MTU is that of the
 * tunnel: the kernel knows its other ways. To the node itself every size may go. */
__slow int check_size(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor, const struct endpoint *pod)
{
	struct node_state *node = this_node();
	__u32 mtu;

	if (!node || (!p->node && node->tunnel_ifindex) || length_on_wire(ctx, p, cursor) <= node->path_mtu)
		return OUTCOME_GO_ON;
	if (identify(p, END_DESTINATION) || p->party[END_DESTINATION].identity == IDENTITY_HOST)
		return OUTCOME_GO_ON;
	mtu = node->path_mtu;
	drop(ctx, p, DROP_TOO_BIG);
	if (config_services)
		undo_translation(ctx); /* the pod knows what it sent */
	return p->family == FAMILY_IPV4 ? answer_too_big_ipv4(ctx, p, pod, mtu) : answer_too_big_ipv6(ctx, p, pod, mtu);
}

/* Nobody but the node itself talks to tunnels: a packet of a pod would arrive with a real node's source, or be taken
 * apart by this node's own device. Nodes have more addresses than are known here (a second network, a floating address
 * in front of them), so only pods are certain to be none. Asked again after Services are translated. */
__apart int may_be_a_node(void)
{
	struct passage *p = this_passage();

	return !p || identify(p, END_DESTINATION) || p->party[END_DESTINATION].kind != PEER_POD;
}

__force_inline int refuse_tunnel_port(struct passage *p)
{
	struct node_state *node = this_node();

	if (p->tuple.protocol != IPPROTO_UDP || !node || !node->tunnel_port ||
	    p->tuple.destination_port != node->tunnel_port)
		return OUTCOME_GO_ON;
	return may_be_a_node() ? -DROP_TUNNEL_FORBIDDEN : OUTCOME_GO_ON;
}

/* A packet of `pod` that has been judged and stays in no pod of this node. */
__force_inline int leave(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
			 const struct endpoint *pod)
{
	struct node_state *node = this_node();
	int outcome;

	if (!node)
		return -DROP_TUNNEL_MISSING;
	if (node->path_mtu && p->length > node->path_mtu) {
		outcome = check_size(ctx, p, cursor, pod);
		if (outcome)
			return outcome;
	}
	if (!p->node) {
		ctx->mark = p->by_stack ? MARK_TRACKED : p->masquerade ? MARK_MASQUERADE : 0;
		return OUTCOME_STACK;
	}
	if (!node->tunnel_ifindex)
		return -DROP_TUNNEL_MISSING;
	outcome = set_tunnel_key(ctx, p->node, pod->identity);
	if (outcome)
		return outcome;
	ctx->mark = MARK_TUNNELLED;
	return bpf_redirect(node->tunnel_ifindex, 0) == TCX_REDIRECT ? OUTCOME_DELIVER : -DROP_TUNNEL_MISSING;
}
