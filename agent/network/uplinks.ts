/** By which devices this node reaches the others, and how large a packet may be there. Pure. */
import type { Link } from '../../native/index.ts';
import { type Family, familyOf } from '../model/address.ts';
import type { NodeRecord, Problem } from '../model/object.ts';
import { defaultDevices, devicesOf, type Found } from './found.ts';
import { OWN_DEVICES } from './names.ts';
import type { NetworkSettings } from './network.ts';
import { error, warning } from './problem.ts';

/** Outer Ethernet does not count against the MTU: IP, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348). */
export const TUNNEL_OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };
/** RFC 8200, 5: on a device with less the kernel switches IPv6 off. */
export const IPV6_LEAST_MTU = 1280;
const FALLBACK_MTU = 1500;

export interface Uplinks {
  readonly devices: readonly Link[];
  /** Bytes an IP packet to another node may have before anything is put around it. */
  readonly mtu: number;
  readonly problems: readonly Problem[];
}

/**
 * Devices named by the setting; without it those that have the node's addresses; a node whose addresses are on loopback
 * (they are announced by a routing protocol) or on no device has its default routes'.
 */
export function findUplinks(settings: NetworkSettings, self: NodeRecord, found: Found): Uplinks {
  const problems: Problem[] = [];
  const usable = (link: Link): boolean => link.name !== 'lo' && !OWN_DEVICES.includes(link.name);
  const named = settings.uplinkDevices.split(/[\s,]+/).filter((name) => name !== '');
  let devices = named.flatMap((name) => found.links.filter((link) => link.name === name));
  for (const name of named.filter((wanted) => !devices.some((link) => link.name === wanted))) {
    problems.push(error('uplink-missing', `uplinkDevices names ${name}: this node has no such device`));
  }
  if (named.length === 0) {
    devices = devicesOf(self.addresses, found).filter(usable);
    if (devices.length === 0) {
      devices = [...new Set(([4, 6] as const).flatMap((family) => defaultDevices(family, found)))].filter(usable);
      const addresses = self.addresses.join(', ') || 'none';
      const message = `no device has an address of this node (${addresses}); taken instead: ${devices.map(({ name }) => name).join(', ') || 'none, as there is no default route'}`;
      problems.push(warning('uplink-guessed', `${message}. uplinkDevices can name them`));
    }
  }
  const mtus = devices.map(({ mtu }) => mtu).filter((mtu) => mtu > 0);
  return { devices, mtu: mtus.length === 0 ? FALLBACK_MTU : Math.min(...mtus), problems };
}

/** Family of the tunnel's outer packets; auto: that of the node's first address, IPv4 for a node without any. */
export function underlayFamily({ underlay }: Pick<NetworkSettings, 'underlay'>, self: NodeRecord): Family {
  if (underlay !== 'auto') return underlay === 'ipv4' ? 4 : 6;
  const [first] = self.addresses;
  return first === undefined ? 4 : familyOf(first);
}
