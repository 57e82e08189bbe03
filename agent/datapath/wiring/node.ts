/** What the node itself needs once, before pods: forwarding; and which addresses it answers to. The rest belongs to a pod. */
import { existsSync } from 'node:fs';
import { batch, linkList, sysctlGet, sysctlSet } from '../../../native/index.ts';
import type { Family, Prefix } from '../../model/address.ts';

/**
 * Switches forwarding on in the namespace (`netns`: a path; absent: this process's own). IPv6 forwarding turns a host into
 * a router, which ignores router advertisements unless accept_ra is 2: where it was 1 it becomes 2, or the node would
 * lose its default route. Returns the families for which it was off.
 */
export async function prepareNode(netns?: string): Promise<Family[]> {
  const at = { netns };
  const wasOff: Family[] = [];
  if ((await sysctlGet({ key: 'net/ipv4/ip_forward', ...at })) !== '1') {
    await sysctlSet({ key: 'net/ipv4/ip_forward', value: '1', ...at });
    wasOff.push(4);
  }
  if (!hasIpv6() || (await sysctlGet({ key: 'net/ipv6/conf/all/forwarding', ...at })) === '1') return wasOff;
  for (const name of ['default', ...(await linkList(at)).map((link) => link.name)]) {
    const key = `net/ipv6/conf/${name}/accept_ra`;
    if ((await sysctlGet({ key, ...at }).catch(absent)) === '1')
      await sysctlSet({ key, value: '2', ...at }).catch(absent);
  }
  await sysctlSet({ key: 'net/ipv6/conf/all/forwarding', value: '1', ...at });
  return [...wasOff, 6];
}

/** Routing table of what the kernel delivers to itself: linux/rtnetlink.h. */
const RT_TABLE_LOCAL = 255;
const OWN = ['local', 'broadcast', 'anycast'];

/**
 * Everything a pod can send to that is this node itself, by its routes rather than its interfaces: an address is also
 * local while its interface has no carrier or is down (docker0, most of the time), and a whole prefix can be. Without
 * loopback and IPv6's link-local addresses, which never leave their interface.
 */
export async function localPrefixes(): Promise<Prefix[]> {
  const [routes] = await batch(undefined, [{ op: 'routeList', table: RT_TABLE_LOCAL }]);
  const own = routes.flatMap(({ type, dst }) =>
    OWN.includes(type) && dst !== 'default4' && dst !== 'default6' ? [dst] : [],
  );
  return [...new Set(own)].filter((prefix) => !/^(127\.|::1\/|fe80:)/.test(prefix)).sort();
}

/** False when the kernel was built or started without IPv6 (ipv6.disable=1): the same in every namespace. */
export function hasIpv6(): boolean {
  return existsSync('/proc/sys/net/ipv6');
}

/** A device that went away in this moment. */
function absent(error: unknown): undefined {
  if ((error as { code?: string }).code !== 'ENOENT') throw error;
}
