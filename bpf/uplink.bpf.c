// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The programs of the devices by which the node reaches others.
 *
 *   guard_uplink    XDP, before the stack: drops what nobody may send here, whoever it is for
 *   from_uplink     tc ingress, native routing: what comes for a pod of this node is judged, delivered past the stack
 *   guarded_uplink  tc ingress, in the place of both where XDP is not wanted: the same guard, then from_uplink
 */
#include <linux/types.h>
#include "lib/frame.h"
#include "lib/receive.h"

/* Dropped packets reported at most, per CPU and second: what is dropped here may be a flood. All are counted. */
#define REPORTS_PER_SECOND 100

struct report_window {
	__u64 began; /* jiffies */
	__u64 reports;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct report_window);
	__uint(max_entries, 1);
} report_windows SEC(".maps");

__force_inline bool may_report(void)
{
	__u32 zero = 0;
	struct report_window *window = bpf_map_lookup_elem(&report_windows, &zero);
	__u64 now = bpf_jiffies64();

	if (!window)
		return false;
	if (now - window->began >= seconds(1)) {
		window->began = now;
		window->reports = 0;
	}
	return window->reports++ < REPORTS_PER_SECOND;
}

__slow int report_refused(const struct frame *f, __u32 reason, __u32 ifindex)
{
	struct flow_event *event;

	if (!may_report())
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count(COUNTER_EVENTS_LOST);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_ns();
	event->packets[0] = 1;
	event->bytes[0] = f->length;
	event->source = f->source;
	event->destination = f->destination;
	event->source_port = f->source_port;
	event->destination_port = f->destination_port;
	event->family = f->family;
	event->protocol = f->protocol;
	event->type = EVENT_DROP;
	event->reason = reason;
	event->direction = DIRECTION_INGRESS;
	event->identity[END_SOURCE] = f->family == FAMILY_IPV4 ? config_world_ipv4 : config_world_ipv6;
	event->length = f->length;
	event->ifindex = ifindex;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Why nobody may send this from outside, or 0. */
__force_inline __u32 refusal(const struct frame *f)
{
	struct range_key range = { .prefix_len = 32 + 128, .family = f->family, .address = f->source };
	__u32 *reason = bpf_map_lookup_elem(&refused_sources, &range);
	struct node_state *node;
	struct peer_key sender;

	if (reason)
		return *reason;
	node = this_node();
	if (!f->has_ports || !node || !node->tunnel_port || f->destination_port != node->tunnel_port)
		return DROP_NONE;
	sender = (struct peer_key){ .family = f->family, .address = f->source };
	return bpf_map_lookup_elem(&tunnel_sources, &sender) ? DROP_NONE : DROP_TUNNEL_FORBIDDEN;
}

/* The guard, whatever kind of program it is part of: whether to drop the frame, which then is counted and reported. */
__force_inline bool is_refused(const struct frame *f, __u32 ifindex)
{
	__u32 reason = f->family ? refusal(f) : DROP_NONE;

	if (!reason || reason >= DROP_REASON_COUNT)
		return false;
	count_drop(reason, DIRECTION_INGRESS, f->length);
	report_refused(f, reason, ifindex);
	return true;
}

SEC("xdp")
int guard_uplink(struct xdp_md *ctx)
{
	struct span bytes = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	struct frame frame = {};

	read_frame(&bytes, &frame);
	return is_refused(&frame, ctx->ingress_ifindex) ? XDP_DROP : XDP_PASS;
}

/* Is the packet for an address of this node's pods? Nearly everything else that comes by an uplink is for the node, and
 * costs it no more than this. */
__force_inline bool is_for_pods_ipv4(struct __sk_buff *ctx, const struct node_state *node)
{
	struct iphdr *ip = header(ctx, ETH_HLEN, sizeof(*ip));

	return ip && node->pod_ipv4_mask && (ip->daddr & node->pod_ipv4_mask) == node->pod_ipv4;
}

__force_inline bool is_for_pods_ipv6(struct __sk_buff *ctx, const struct node_state *node)
{
	struct ipv6hdr *ip = header(ctx, ETH_HLEN, sizeof(*ip));
	const __u32 *mask = (const __u32 *)node->pod_ipv6_mask, *prefix = (const __u32 *)node->pod_ipv6;
	const __u32 *address;

	if (!ip || !mask[0])
		return false;
	address = (const __u32 *)&ip->daddr;
	return !(((address[0] & mask[0]) ^ prefix[0]) | ((address[1] & mask[1]) ^ prefix[1]) |
		 ((address[2] & mask[2]) ^ prefix[2]) | ((address[3] & mask[3]) ^ prefix[3]));
}

__force_inline int from_outside(struct __sk_buff *ctx, struct passage *p, __u16 ethertype)
{
	return ethertype == ETH_P_IP ? receive(ctx, p, FAMILY_IPV4) : receive(ctx, p, FAMILY_IPV6);
}

__force_inline int take_for_pods(struct __sk_buff *ctx)
{
	__u16 ethertype = bpf_ntohs(ctx->protocol);
	struct node_state *node = this_node();
	struct passage *p;

	/* With a tunnel nothing for pods comes by the uplink itself; what does all the same takes the stack's way to
	 * to_pod. Frames for other hosts that a bridge or a promiscuous device shows, and VLANs, are the stack's to
	 * sort out. */
	if (!node || node->tunnel_ifindex || ctx->vlan_present || ctx->pkt_type != 0 /* PACKET_HOST */)
		return TCX_NEXT;
	if (ethertype == ETH_P_IP ? !is_for_pods_ipv4(ctx, node)
				  : ethertype != ETH_P_IPV6 || !is_for_pods_ipv6(ctx, node))
		return TCX_NEXT;
	p = begin(DIRECTION_INGRESS, 0);
	if (!p)
		return TCX_DROP;
	return finish(ctx, p, from_outside(ctx, p, ethertype));
}

SEC("tc")
int from_uplink(struct __sk_buff *ctx)
{
	return take_for_pods(ctx);
}

__slow int read_linear(struct __sk_buff *ctx, struct frame *f)
{
	struct span bytes = { packet_begin(ctx), packet_end(ctx) };

	*f = (struct frame){};
	read_frame(&bytes, f);
	return f->is_cut;
}

SEC("tc")
int guarded_uplink(struct __sk_buff *ctx)
{
	struct frame frame;

	/* Few drivers leave headers in pages, and they must not hide there from the guard. */
	if (read_linear(ctx, &frame) &&
	    !bpf_skb_pull_data(ctx, ctx->len < FRAME_HEADERS_MAX ? ctx->len : FRAME_HEADERS_MAX))
		read_linear(ctx, &frame);
	return is_refused(&frame, ctx->ifindex) ? TCX_DROP : take_for_pods(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
