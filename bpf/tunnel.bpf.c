// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The programs of the node's VXLAN device (`type vxlan external dstport nolearning`), whose key comes with each packet.
 *
 *   from_tunnel  ingress: what another node sends, its source checked, judged, delivered past the stack
 *   to_tunnel    egress: what local sockets send by routes gets its key here; what from_pod sends has it already
 *
 * The VNI is the identity of who sends, so that the first packet of a new pod is judged right although nobody has heard
 * of its address yet. A node's own processes send as `host`, which is `remote-node` here. */
#include <linux/types.h>
#include "abi/mark.h"
#include "lib/receive.h"
#include "lib/tunnel.h"

/* Reserved identities that may come through the tunnel; those of pods begin behind all reserved ones. */
#define IDENTITY_UNMANAGED   3
#define IDENTITY_HEALTH      4
#define IDENTITY_INIT        5
#define IDENTITY_REMOTE_NODE 6
#define IDENTITY_FIRST_POD   256

__force_inline int take_claim(struct passage *p, __u32 vni)
{
	switch (vni) {
	case IDENTITY_HOST:
	case IDENTITY_REMOTE_NODE:
		return OUTCOME_GO_ON;
	case IDENTITY_UNMANAGED:
	case IDENTITY_HEALTH:
	case IDENTITY_INIT:
		break;
	default:
		if (vni < IDENTITY_FIRST_POD)
			return -DROP_TUNNEL_FORBIDDEN;
	}
	p->claimed_identity = vni;
	return OUTCOME_GO_ON;
}

/* Who sent the packet, and from which node it came: only nodes of the cluster may. */
__slow int read_tunnel_key(struct __sk_buff *ctx, struct passage *p)
{
	struct bpf_tunnel_key key = {};
	struct peer_key source = {};
	__u32 *node;

	/* Asked for in the wrong family the key is refused. */
	if (!bpf_skb_get_tunnel_key(ctx, &key, sizeof(key), 0)) {
		source.family = FAMILY_IPV4;
		*(__be32 *)source.address.bytes = bpf_htonl(key.remote_ipv4);
	} else if (!bpf_skb_get_tunnel_key(ctx, &key, sizeof(key), BPF_F_TUNINFO_IPV6)) {
		source.family = FAMILY_IPV6;
		__builtin_memcpy(&source.address, key.remote_ipv6, sizeof(source.address));
	} else {
		return -DROP_TUNNEL_FORBIDDEN;
	}
	node = bpf_map_lookup_elem(&tunnel_sources, &source);
	if (!node || !*node)
		return -DROP_TUNNEL_FORBIDDEN;
	p->source_node = *node;
	return take_claim(p, key.tunnel_id);
}

/* For no pod of this node: then for the node itself, or it has no business here. The node forwards nothing out of the
 * tunnel. */
__slow int receive_for_host(struct __sk_buff *ctx, struct passage *p)
{
	int outcome = identify(p, END_DESTINATION);

	if (outcome)
		return outcome;
	if (p->party[END_DESTINATION].identity != IDENTITY_HOST)
		return -DROP_DESTINATION_GONE;
	if ((outcome = identify(p, END_SOURCE)) || (outcome = check_source_origin(ctx, p)) ||
	    (outcome = check_claim(p)))
		return outcome;
	ctx->mark = 0;
	/* Addressed to the pods' gateway, or to the device of its sender: the stack would take it for somebody else's.
	 */
	if (ctx->pkt_type != 0 /* PACKET_HOST */)
		bpf_skb_change_type(ctx, 0);
	return OUTCOME_STACK;
}

__force_inline int receive_tunnelled(struct __sk_buff *ctx, struct passage *p, const enum family family)
{
	int outcome = receive(ctx, p, family);

	return outcome == OUTCOME_STACK ? receive_for_host(ctx, p) : outcome;
}

/* So that the event of a packet that is refused for its key says which it was. */
__slow int name_packet(struct __sk_buff *ctx, struct passage *p)
{
	struct cursor cursor;

	return ctx->protocol == bpf_htons(ETH_P_IP) ? parse_ipv4(ctx, p, &cursor) : parse_ipv6(ctx, p, &cursor);
}

__force_inline int take_out(struct __sk_buff *ctx, struct passage *p)
{
	int outcome;

	if (ctx->vlan_present)
		return -DROP_UNSUPPORTED_L2;
	outcome = read_tunnel_key(ctx, p);
	if (outcome) {
		name_packet(ctx, p);
		return outcome;
	}
	switch (bpf_ntohs(ctx->protocol)) {
	case ETH_P_IP:
		return receive_tunnelled(ctx, p, FAMILY_IPV4);
	case ETH_P_IPV6:
		return receive_tunnelled(ctx, p, FAMILY_IPV6);
	default:
		return -DROP_UNSUPPORTED_L3;
	}
}

/* Where the routes lead into the tunnel, but no node is known to be. Also what the node forwards for others: their
 * identity is not the node's, and it has no other to give them. */
__force_inline int put_in(struct __sk_buff *ctx, struct passage *p, const enum family family)
{
	struct cursor cursor;
	int outcome = family == FAMILY_IPV4 ? parse_ipv4(ctx, p, &cursor) : parse_ipv6(ctx, p, &cursor);

	if (outcome)
		return outcome;
	if (!is_from_this_host(ctx))
		return -DROP_TUNNEL_FORBIDDEN;
	if (is_multicast(&p->tuple.destination, family))
		return OUTCOME_CONSUME; /* MLD, router solicitations: the device has no neighbours */
	p->party[END_SOURCE] = (struct party){ .identity = IDENTITY_HOST, .kind = PEER_NODE };
	outcome = identify(p, END_DESTINATION);
	if (outcome)
		return outcome;
	if (!p->party[END_DESTINATION].node)
		return -DROP_TUNNEL_MISSING;
	outcome = set_tunnel_key(ctx, p->party[END_DESTINATION].node, IDENTITY_HOST);
	return outcome ? outcome : OUTCOME_STACK;
}

SEC("tc")
int from_tunnel(struct __sk_buff *ctx)
{
	struct passage *p = begin(DIRECTION_INGRESS, 0);

	return p ? finish(ctx, p, take_out(ctx, p)) : TCX_DROP;
}

SEC("tc")
int to_tunnel(struct __sk_buff *ctx)
{
	struct passage *p;

	if (ctx->mark == MARK_TUNNELLED) {
		ctx->mark = 0;
		return TCX_NEXT;
	}
	p = begin(DIRECTION_EGRESS, 0);
	if (!p)
		return TCX_DROP;
	switch (bpf_ntohs(ctx->protocol)) {
	case ETH_P_IP:
		return finish(ctx, p, put_in(ctx, p, FAMILY_IPV4));
	case ETH_P_IPV6:
		return finish(ctx, p, put_in(ctx, p, FAMILY_IPV6));
	default:
		return finish(ctx, p, -DROP_UNSUPPORTED_L3);
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
