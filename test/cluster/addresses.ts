/**
 * The addresses of a cluster. They are the same in every cluster, for each has namespaces of its own; only the link to the
 * machine (machineLink) needs a subnet that differs.
 *
 *     world 198.51.100.10 --- .1 router 172.18.0.1 --+-- .2 control plane
 *           2001:db8:1::10                           +-- .11 node1, .12 node2, ...
 *
 * The router knows no pod ranges: what leaves a node for the world has to have the node's address.
 */

/** One address per family; `v6` is absent in a cluster that is not dual stack. */
export interface Addresses {
  readonly v4: string;
  readonly v6?: string;
}

export const POD_RANGE: Addresses = { v4: '10.244.0.0/16', v6: 'fd00:10:244::/56' };
export const SERVICE_RANGE: Addresses = { v4: '10.96.0.0/16', v6: 'fd00:10:96::/112' };
/** Fixed, because the kubelet tells pods before the Service is there. */
export const DNS_SERVICE: Addresses = { v4: '10.96.0.10', v6: 'fd00:10:96::a' };

export const LAN_PREFIX: Addresses = { v4: '24', v6: '64' };
export const ROUTER: Addresses = { v4: '172.18.0.1', v6: 'fd00:172:18::1' };
export const CONTROL_PLANE: Addresses = { v4: '172.18.0.2', v6: 'fd00:172:18::2' };
export const WORLD_ROUTER: Addresses = { v4: '198.51.100.1', v6: '2001:db8:1::1' };
export const WORLD: Addresses = { v4: '198.51.100.10', v6: '2001:db8:1::10' };

/** The address of node `number`, from 1 to 200. */
export function nodeAddresses(number: number): Addresses {
  return { v4: `172.18.0.${10 + number}`, v6: `fd00:172:18::${(0x10 + number).toString(16)}` };
}

/** Both ends of the link between the machine's own namespace and the control plane, of cluster `number` (0 to 255). RFC 2544's range, which no network has. */
export function machineLink(number: number): { readonly machine: string; readonly controlPlane: string } {
  return { machine: `198.18.${number}.1`, controlPlane: `198.18.${number}.2` };
}

/** The first pair's addresses that a cluster has: ["10.96.0.0/16", "fd00:10:96::/112"]. */
export function families(addresses: Addresses, dualStack: boolean): string[] {
  return dualStack && addresses.v6 !== undefined ? [addresses.v4, addresses.v6] : [addresses.v4];
}

/** "172.18.0.11/24" and "fd00:172:18::11/64". */
export function withPrefix(addresses: Addresses, dualStack: boolean, prefix: Addresses = LAN_PREFIX): string[] {
  const lengths = families(prefix, true);
  return families(addresses, dualStack).map((address, i) => `${address}/${lengths[i]}`);
}
