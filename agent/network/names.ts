/** By these the network's own devices, routes and rules are known, and nothing else is ever touched. */

/** The tunnel's device: VXLAN whose key and far end come with each packet. */
export const TUNNEL_DEVICE = 'weir-vxlan';
/**
 * Has the node's router addresses. One end of a veth, because every node that has pods can make one; a dummy device would
 * do, but not every kernel has it.
 */
export const ROUTER_DEVICE = 'weir-router';
/** The other end, where nothing happens. It comes and goes with the first. */
export const ROUTER_FAR_END = 'weir-router-far';
export const OWN_DEVICES: readonly string[] = [TUNNEL_DEVICE, ROUTER_DEVICE];
/** rtm_protocol of our routes: not among the numbers of linux/rtnetlink.h, nor of iproute2's rt_protos. */
export const ROUTE_PROTOCOL = 119;
/** `table inet weir`. */
export const NFT_TABLE = 'weir';
