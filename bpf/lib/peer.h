/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is at an address: exact peers, then ranges, then the world. */
#pragma once
#include "lib/translate.h"

/* Identity of the node itself: Cilium's reserved:host. */
#define IDENTITY_HOST 1

/* The pod with this index as a party. Identity and policy come from one word, so both are of the same moment. */
__force_inline void take_endpoint(struct party *party, const struct endpoint *pod, __u32 index)
{
	__u64 word = *(const volatile __u64 *)pod;

	*party = (struct party){ .endpoint = index, .kind = PEER_POD, .aggregation = pod->aggregation };
	__builtin_memcpy(&party->identity, &word, sizeof(__u32));
	__builtin_memcpy(&party->policy, (void *)&word + sizeof(__u32), sizeof(__u32));
}

/* Fills party[end] from its address. */
__slow int identify(struct passage *p, __u32 end)
{
	const struct ip_address *address = end == END_SOURCE ? &p->tuple.source : &p->tuple.destination;
	struct party *party = &p->party[end & 1];
	struct peer_key key = { .family = p->family };
	struct endpoint *pod;
	struct peer *peer;
	__u32 index;

	__builtin_memcpy(&key.address, address, sizeof(key.address));
	peer = bpf_map_lookup_elem(&peers, &key);
	if (!peer) {
		struct range_key range = { .prefix_len = 32 + 128, .family = p->family };

		__builtin_memcpy(&range.address, address, sizeof(range.address));
		peer = bpf_map_lookup_elem(&ranges, &range);
	}
	if (!peer) {
		*party = (struct party){
			.identity = p->family == FAMILY_IPV4 ? config_world_ipv4 : config_world_ipv6,
			.kind = PEER_OUTSIDE,
		};
		return 0;
	}
	index = *(const volatile __u32 *)&peer->endpoint;
	if (index) {
		pod = find_endpoint(index);
		if (!pod || !(p->family == FAMILY_IPV4 ? owns_address(pod, address, FAMILY_IPV4)
						       : owns_address(pod, address, FAMILY_IPV6)))
			return end == END_SOURCE ? -DROP_UNKNOWN_ENDPOINT : -DROP_DESTINATION_GONE;
		take_endpoint(party, pod, index);
		return 0;
	}
	*party = (struct party){ .identity = peer->identity, .kind = peer->kind, .node = peer->node };
	return 0;
}

/* In to_pod: does the packet come from a socket of this node rather than from a device? */
__force_inline bool is_from_this_host(const struct __sk_buff *ctx)
{
	return !ctx->ingress_ifindex;
}

/* Sent by a pod, as which from_pod has let it pass, and from the node by now: the stack has translated the answer of a
 * pod that was asked by an address of the node (hostPort). Only who has asked gets it. */
__force_inline bool is_translated_answer(const struct __sk_buff *ctx, const struct passage *p)
{
	return p->sender == SIDE_RESPONDER && ctx->ingress_ifindex > ENDPOINT_IFINDEX_BASE &&
	       ctx->ingress_ifindex < ENDPOINT_IFINDEX_BASE + ENDPOINT_MAX;
}

/* In to_pod: a question with an address of the node that came by a device all the same. The node's stack has
 * masqueraded it: a hostPort asked for by a pod, a node port of kube-proxy's. What only looks like that is forged, and
 * gains nothing by it (take_masked). */
__force_inline bool is_masked(const struct __sk_buff *ctx, const struct passage *p)
{
	return p->sender == SIDE_INITIATOR && p->direction == DIRECTION_INGRESS &&
	       ctx->ifindex == ENDPOINT_IFINDEX_BASE + p->own && p->party[END_SOURCE].identity == IDENTITY_HOST;
}

/* By the veth of a pod comes what that pod sends, for from_pod lets nothing else pass; be it the one that is asked. By
 * any other device comes somebody whom nobody can name any more: the world, with no more rights than it has anyway. */
__force_inline int take_masked(const struct __sk_buff *ctx, struct passage *p)
{
	__u32 index = ctx->ingress_ifindex - ENDPOINT_IFINDEX_BASE;
	struct endpoint *pod;

	p->masked = 1;
	if (index >= ENDPOINT_MAX) {
		p->party[END_SOURCE] = (struct party){
			.identity = p->family == FAMILY_IPV4 ? config_world_ipv4 : config_world_ipv6,
			.kind = PEER_OUTSIDE,
		};
		return OUTCOME_GO_ON;
	}
	pod = find_endpoint(index);
	if (!pod)
		return -DROP_UNKNOWN_ENDPOINT;
	take_endpoint(&p->party[END_SOURCE], pod, index);
	return OUTCOME_GO_ON;
}

/* For what came in by a device: nobody has the node's own addresses there but those whom it masquerades, a pod of this
 * node comes by its own veth, and what is behind another node's tunnel by that and nothing else. */
__force_inline int check_source_origin(const struct __sk_buff *ctx, const struct passage *p)
{
	const struct party *source = &p->party[END_SOURCE];

	if (source->identity == IDENTITY_HOST && !is_translated_answer(ctx, p))
		return -DROP_HOST_SPOOF;
	if (source->endpoint && ctx->ingress_ifindex != ENDPOINT_IFINDEX_BASE + source->endpoint)
		return -DROP_HOST_SPOOF;
	if (source->node && !p->source_node)
		return -DROP_HOST_SPOOF;
	return OUTCOME_GO_ON;
}

/* In from_tunnel: is the sender behind the node that the packet came from? A node may also send by its addresses of the
 * underlay, to which no tunnel leads. What the packet says of its sender counts for more than what has been heard of
 * the address, which may be of its former owner, or nothing yet; but who among nodes is an API server is known here. */
__force_inline int check_claim(struct passage *p)
{
	struct party *source = &p->party[END_SOURCE];

	if (source->node != p->source_node) {
		struct peer_key key = { .family = p->family };
		__u32 *node;

		/* what no tunnel leads to are this node's own pods, or the world */
		if (source->kind != PEER_NODE)
			return source->kind == PEER_POD && !source->node ? -DROP_HOST_SPOOF : -DROP_TUNNEL_FORBIDDEN;
		__builtin_memcpy(&key.address, &p->tuple.source, sizeof(key.address));
		node = bpf_map_lookup_elem(&tunnel_sources, &key);
		if (!node || *node != p->source_node)
			return -DROP_TUNNEL_FORBIDDEN;
	}
	if ((source->kind == PEER_NODE) != !p->claimed_identity)
		return -DROP_TUNNEL_FORBIDDEN;
	if (p->claimed_identity)
		source->identity = p->claimed_identity;
	return OUTCOME_GO_ON;
}

/* Where no program of a pod runs: which pod of this node is it for? OUTCOME_STACK: none. */
__force_inline int find_receiver(struct passage *p)
{
	int outcome = identify(p, END_DESTINATION);

	if (outcome)
		return outcome;
	p->own = p->party[END_DESTINATION].endpoint;
	return p->own ? OUTCOME_GO_ON : OUTCOME_STACK;
}

/* Fills both parties. */
__apart int identify_parties(struct __sk_buff *ctx)
{
	struct passage *p = this_passage();
	struct endpoint *pod;
	__u32 own;
	int outcome;

	if (!p)
		return -DROP_UNKNOWN_ENDPOINT;
	if (!p->own && (outcome = find_receiver(p)))
		return outcome;
	pod = find_endpoint(p->own);
	if (!pod)
		return -DROP_UNKNOWN_ENDPOINT;
	own = p->direction == DIRECTION_EGRESS ? END_SOURCE : END_DESTINATION;
	take_endpoint(&p->party[own], pod, p->own);
	if (own == END_DESTINATION && is_from_this_host(ctx)) {
		p->party[END_SOURCE] = (struct party){ .identity = IDENTITY_HOST, .kind = PEER_NODE };
		return OUTCOME_GO_ON;
	}
	if (config_services && own == END_SOURCE && is_hairpin(p)) {
		p->party[END_DESTINATION] = p->party[END_SOURCE];
		return OUTCOME_GO_ON;
	}
	outcome = identify(p, own ^ 1);
	if (outcome || own == END_SOURCE)
		return outcome;
	if (is_masked(ctx, p))
		return take_masked(ctx, p);
	outcome = check_source_origin(ctx, p);
	if (outcome || !p->source_node)
		return outcome;
	return check_claim(p);
}
