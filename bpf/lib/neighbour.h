/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ARP and neighbour discovery from pods. A pod has one neighbour, the gateway, and its address is answered here; what
 * the pod says about itself is swallowed, what it says about others is dropped. Nothing of it reaches the node. */
#pragma once
#include "lib/checksum.h"
#include "lib/parse.h"
#include "lib/sender.h"

#define ARP_ETHERNET 1
#define ARP_REQUEST  1
#define ARP_REPLY    2

#define ICMPV6_MLD_QUERY         130
#define ICMPV6_MLD_REPORT        131
#define ICMPV6_MLD_DONE          132
#define ICMPV6_ROUTER_SOLICIT    133
#define ICMPV6_ROUTER_ADVERT     134
#define ICMPV6_NEIGHBOUR_SOLICIT 135
#define ICMPV6_NEIGHBOUR_ADVERT  136
#define ICMPV6_REDIRECT          137
#define ICMPV6_MLD2_REPORT       143

#define ND_OPTION_SOURCE_MAC 1
#define ND_OPTION_TARGET_MAC 2
#define ND_HOP_LIMIT         255
#define ND_SOLICITED         0x40000000
#define ND_OVERRIDE          0x20000000

/* Ethernet over IPv4, the only ARP there is: RFC 826. */
struct arp_frame {
	struct ethhdr ethernet;
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender_ip[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target_ip[4];
} __attribute__((packed));

/* Solicitation or advertisement with one option: RFC 4861 section 4.3. */
struct neighbour_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	__u8 target[16];
	__u8 option;
	__u8 option_length; /* in units of 8 bytes */
	__u8 option_mac[ETH_ALEN];
};
_Static_assert(sizeof(struct neighbour_message) == 32, "RFC 4861");
#define NEIGHBOUR_WITHOUT_OPTION 24

struct neighbour_frame {
	struct ethhdr ethernet;
	struct ipv6hdr ip;
	struct neighbour_message message;
} __attribute__((packed));

__slow int arp_from_pod(struct __sk_buff *ctx, const struct endpoint *pod)
{
	static const __u8 gateway_mac[] = GATEWAY_MAC;
	const __be32 gateway = bpf_htonl(GATEWAY_IPV4);
	struct arp_frame frame;
	__be32 sender, target;

	if (bpf_skb_load_bytes(ctx, 0, &frame, sizeof(frame)))
		return -DROP_MALFORMED;
	if (frame.hardware != bpf_htons(ARP_ETHERNET) || frame.protocol != bpf_htons(ETH_P_IP) ||
	    frame.hardware_length != ETH_ALEN || frame.protocol_length != 4)
		return -DROP_MALFORMED;
	__builtin_memcpy(&sender, frame.sender_ip, 4);
	__builtin_memcpy(&target, frame.target_ip, 4);
	/* Sender 0 is a probe for a free address: RFC 5227. */
	if (!same_mac(frame.sender_mac, pod->mac.bytes) || (sender && sender != pod->ipv4))
		return -DROP_ARP_SPOOF;
	if (frame.operation != bpf_htons(ARP_REQUEST) || target != gateway)
		return OUTCOME_CONSUME;

	__builtin_memcpy(frame.ethernet.h_dest, frame.sender_mac, ETH_ALEN);
	__builtin_memcpy(frame.ethernet.h_source, gateway_mac, ETH_ALEN);
	frame.operation = bpf_htons(ARP_REPLY);
	__builtin_memcpy(frame.target_mac, frame.sender_mac, ETH_ALEN);
	__builtin_memcpy(frame.target_ip, &sender, 4);
	__builtin_memcpy(frame.sender_mac, gateway_mac, ETH_ALEN);
	__builtin_memcpy(frame.sender_ip, &gateway, 4);
	if (bpf_skb_store_bytes(ctx, 0, &frame, sizeof(frame), 0))
		return -DROP_MALFORMED;
	return OUTCOME_ANSWER;
}

/* Turns the solicitation for the gateway into the advertisement. */
__slow int advertise_gateway(struct __sk_buff *ctx, const struct passage *p, const struct endpoint *pod)
{
	struct neighbour_frame frame = {
		.ethernet = { .h_source = GATEWAY_MAC, .h_proto = bpf_htons(ETH_P_IPV6) },
		.ip = {
			.version = 6,
			.payload_len = bpf_htons(sizeof(struct neighbour_message)),
			.nexthdr = IPPROTO_ICMPV6,
			.hop_limit = ND_HOP_LIMIT,
			.saddr = { { GATEWAY_IPV6 } },
		},
		.message = {
			.type = ICMPV6_NEIGHBOUR_ADVERT,
			.flags = bpf_htonl(ND_SOLICITED | ND_OVERRIDE),
			.target = GATEWAY_IPV6,
			.option = ND_OPTION_TARGET_MAC,
			.option_length = 1,
			.option_mac = GATEWAY_MAC,
		},
	};
	struct pseudo_header pseudo = {
		.length = bpf_htonl(sizeof(struct neighbour_message)),
		.next = bpf_htonl(IPPROTO_ICMPV6),
		.source = { { GATEWAY_IPV6 } },
	};
	__s64 sum;

	__builtin_memcpy(frame.ethernet.h_dest, pod->mac.bytes, ETH_ALEN);
	__builtin_memcpy(&frame.ip.daddr, &p->tuple.source, sizeof(frame.ip.daddr));
	__builtin_memcpy(&pseudo.destination, &p->tuple.source, sizeof(pseudo.destination));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	{
		/* csum_diff wants its input aligned on the stack */
		struct neighbour_message message = frame.message;

		sum = bpf_csum_diff(NULL, 0, (__be32 *)&message, sizeof(message), sum);
	}
	frame.message.checksum = fold_checksum(sum);
	if (ctx->len != sizeof(frame) && bpf_skb_change_tail(ctx, sizeof(frame), 0))
		return -DROP_MALFORMED;
	if (bpf_skb_store_bytes(ctx, 0, &frame, sizeof(frame), 0))
		return -DROP_MALFORMED;
	return OUTCOME_ANSWER;
}

__force_inline bool is_gateway_ipv6(const void *address)
{
	static const __u8 gateway[16] __attribute__((aligned(8))) = GATEWAY_IPV6;

	return same_ipv6(address, gateway);
}

/* May the pod speak for this address in neighbour discovery? Its own, and link-local ones: those never leave its veth.
 */
__force_inline bool may_claim(const struct endpoint *pod, const __u8 *address)
{
	if (is_gateway_ipv6(address))
		return false;
	return is_link_local(address) || (same_ipv6(address, pod->ipv6) && !is_zero_ipv6(pod->ipv6));
}

__force_inline bool is_neighbour_discovery(const struct passage *p)
{
	return p->tuple.protocol == IPPROTO_ICMPV6 && p->fragment == FRAGMENT_WHOLE &&
	       ((p->icmp_type >= ICMPV6_MLD_QUERY && p->icmp_type <= ICMPV6_REDIRECT) ||
		p->icmp_type == ICMPV6_MLD2_REPORT);
}

/* Neighbour discovery and multicast listener messages, from :: and link-local addresses too. */
__slow int neighbour_from_pod(struct __sk_buff *ctx, const struct passage *p, const struct endpoint *pod,
			      struct cursor *cursor)
{
	const __u8 *source = p->tuple.source.bytes;
	struct neighbour_message message = {};

	if (p->icmp_type == ICMPV6_ROUTER_ADVERT || p->icmp_type == ICMPV6_REDIRECT)
		return -DROP_ROUTER_ADVERTISEMENT;
	if (p->icmp_type != ICMPV6_NEIGHBOUR_SOLICIT && p->icmp_type != ICMPV6_NEIGHBOUR_ADVERT)
		return is_zero_ipv6(source) || may_claim(pod, source) ? OUTCOME_CONSUME : -DROP_SOURCE_ADDRESS;

	if (cursor->left >= sizeof(message)) {
		if (bpf_skb_load_bytes(ctx, cursor->offset, &message, sizeof(message)))
			return -DROP_MALFORMED;
	} else if (cursor->left < NEIGHBOUR_WITHOUT_OPTION ||
		   bpf_skb_load_bytes(ctx, cursor->offset, &message, NEIGHBOUR_WITHOUT_OPTION)) {
		return -DROP_MALFORMED;
	}
	if ((message.option == ND_OPTION_SOURCE_MAC || message.option == ND_OPTION_TARGET_MAC) &&
	    !same_mac(message.option_mac, pod->mac.bytes))
		return -DROP_ND_SPOOF;
	if (message.type == ICMPV6_NEIGHBOUR_ADVERT)
		return may_claim(pod, source) && may_claim(pod, message.target) ? OUTCOME_CONSUME : -DROP_ND_SPOOF;
	if (!is_zero_ipv6(source) && !may_claim(pod, source))
		return -DROP_ND_SPOOF;
	/* From :: it is duplicate address detection, which silence answers best. */
	if (is_zero_ipv6(source) || !is_gateway_ipv6(message.target))
		return OUTCOME_CONSUME;
	return advertise_gateway(ctx, p, pod);
}
