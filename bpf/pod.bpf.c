// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The programs of a pod's host-side veth, one load for all pods of the node.
 *
 *   stub_from_pod ── tail call ──> from_pod    what the pod sends: source checked, judged, delivered
 *   stub_to_pod ──── tail call ──> to_pod      what the stack sends to the pod: judged
 *
 * The stubs are attached; an upgrade writes slot 0 of the two PROG_ARRAYs and changes every pod at once. */
#include <linux/types.h>
#include "lib/connection.h"
#include "lib/deliver.h"
#include "lib/neighbour.h"
#include "lib/path.h"
#include "lib/sender.h"

/* Where the backend of a Service is nothing the pod may send to by itself: somebody wrote its endpoints by hand. */
__apart int check_backend(void)
{
	struct passage *p = this_passage();
	int outcome;

	if (!p)
		return -DROP_UNKNOWN_ENDPOINT;
	outcome = p->family == FAMILY_IPV4 ? check_destination(p, FAMILY_IPV4) : check_destination(p, FAMILY_IPV6);
	return outcome ? outcome : refuse_tunnel_port(p);
}

/* A packet of the pod that may pass. */
__force_inline int deliver(struct __sk_buff *ctx, struct passage *p, const struct cursor *cursor,
			   const struct endpoint *pod, const enum family family)
{
	int outcome;

	if (p->target)
		return deliver_to_pod(ctx, p, family);
	if (config_services && p->translation && (outcome = check_backend()))
		return outcome;
	return leave(ctx, p, cursor, pod);
}

__force_inline int send_ipv4(struct __sk_buff *ctx, struct passage *p, const struct endpoint *pod)
{
	struct cursor cursor;
	int outcome;

	if ((outcome = parse_ipv4(ctx, p, &cursor)) || (outcome = parse_transport(ctx, p, &cursor, FAMILY_IPV4)) ||
	    (outcome = check_sender(p, pod, FAMILY_IPV4)) || (outcome = refuse_tunnel_port(p)) ||
	    (outcome = judge_or_follow(ctx, p, &cursor, FAMILY_IPV4)))
		return outcome;
	return deliver(ctx, p, &cursor, pod, FAMILY_IPV4);
}

__force_inline int send_ipv6(struct __sk_buff *ctx, struct passage *p, const struct endpoint *pod)
{
	struct cursor cursor;
	int outcome;

	if ((outcome = parse_ipv6(ctx, p, &cursor)) || (outcome = parse_transport(ctx, p, &cursor, FAMILY_IPV6)))
		return outcome;
	if (is_neighbour_discovery(p))
		return neighbour_from_pod(ctx, p, pod, &cursor);
	if ((outcome = check_sender(p, pod, FAMILY_IPV6)) || (outcome = refuse_tunnel_port(p)) ||
	    (outcome = judge_or_follow(ctx, p, &cursor, FAMILY_IPV6)))
		return outcome;
	return deliver(ctx, p, &cursor, pod, FAMILY_IPV6);
}

__force_inline int unsupported(__u16 ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ || ethertype < ETHERTYPE_MIN
		       ? -DROP_UNSUPPORTED_L2
		       : -DROP_UNSUPPORTED_L3;
}

__force_inline int send(struct __sk_buff *ctx, struct passage *p)
{
	struct endpoint *pod = find_endpoint(p->own);
	struct ethhdr *ethernet;

	if (!pod || pod->ifindex != ctx->ifindex)
		return -DROP_UNKNOWN_ENDPOINT;
	if (ctx->vlan_present)
		return -DROP_UNSUPPORTED_L2;
	ethernet = header(ctx, 0, sizeof(*ethernet));
	if (!ethernet)
		return -DROP_MALFORMED;
	if (!same_mac(ethernet->h_source, pod->mac.bytes))
		return -DROP_SOURCE_MAC;
	switch (bpf_ntohs(ethernet->h_proto)) {
	case ETH_P_IP:
		return send_ipv4(ctx, p, pod);
	case ETH_P_IPV6:
		return send_ipv6(ctx, p, pod);
	case ETH_P_ARP:
		return arp_from_pod(ctx, pod);
	default:
		return unsupported(bpf_ntohs(ethernet->h_proto));
	}
}

__force_inline int receive_ip(struct __sk_buff *ctx, struct passage *p, const struct endpoint *pod,
			      const enum family family)
{
	struct cursor cursor;
	int outcome;

	if ((outcome = family == FAMILY_IPV4 ? parse_ipv4(ctx, p, &cursor) : parse_ipv6(ctx, p, &cursor)) ||
	    (outcome = parse_transport(ctx, p, &cursor, family)))
		return outcome;
	/* The node asking who has the pod's address. */
	if (family == FAMILY_IPV6 && is_from_this_host(ctx) && is_neighbour_discovery(p))
		return OUTCOME_STACK;
	if (is_multicast(&p->tuple.destination, family))
		return -DROP_MULTICAST;
	if (!owns_address(pod, &p->tuple.destination, family))
		return -DROP_DESTINATION_GONE;
	outcome = judge_or_follow(ctx, p, &cursor, family);
	return outcome ? outcome : OUTCOME_STACK;
}

__force_inline int receive(struct __sk_buff *ctx, struct passage *p)
{
	struct endpoint *pod = find_endpoint(p->own);
	struct ethhdr *ethernet;

	if (!pod || pod->ifindex != ctx->ifindex)
		return -DROP_UNKNOWN_ENDPOINT;
	if (ctx->vlan_present)
		return -DROP_UNSUPPORTED_L2;
	ethernet = header(ctx, 0, sizeof(*ethernet));
	if (!ethernet)
		return -DROP_MALFORMED;
	switch (bpf_ntohs(ethernet->h_proto)) {
	case ETH_P_IP:
		return receive_ip(ctx, p, pod, FAMILY_IPV4);
	case ETH_P_IPV6:
		return receive_ip(ctx, p, pod, FAMILY_IPV6);
	case ETH_P_ARP:
		/* Only the node itself may ask the pod. */
		return is_from_this_host(ctx) ? OUTCOME_STACK : -DROP_UNSUPPORTED_L3;
	default:
		return unsupported(bpf_ntohs(ethernet->h_proto));
	}
}

SEC("tc")
int from_pod(struct __sk_buff *ctx)
{
	struct passage *p = begin(DIRECTION_EGRESS, ctx->ifindex - ENDPOINT_IFINDEX_BASE);

	return p ? finish(ctx, p, send(ctx, p)) : TCX_DROP;
}

SEC("tc")
int to_pod(struct __sk_buff *ctx)
{
	struct passage *p = begin(DIRECTION_INGRESS, ctx->ifindex - ENDPOINT_IFINDEX_BASE);

	return p ? finish(ctx, p, receive(ctx, p)) : TCX_DROP;
}

SEC("tc")
int stub_from_pod(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &from_pod_slot, 0);
	count_drop(DROP_PROGRAM_MISSING, DIRECTION_EGRESS, ctx->len);
	return TCX_DROP;
}

SEC("tc")
int stub_to_pod(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &to_pod_slot, 0);
	count_drop(DROP_PROGRAM_MISSING, DIRECTION_INGRESS, ctx->len);
	return TCX_DROP;
}

/* Run by the agent (BPF_PROG_TEST_RUN), never attached: jiffies and CLOCK_MONOTONIC into the first 16 bytes of the
 * packet, so that it can read `expires` and work out config_hz. */
SEC("tc")
int sample_clock(struct __sk_buff *ctx)
{
	__u64 now[2] = { bpf_jiffies64(), bpf_ktime_get_ns() };

	return bpf_skb_store_bytes(ctx, 0, now, sizeof(now), 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
