/** What the node itself needs once, before pods: forwarding. Everything else belongs to a pod and goes with it. */
import { existsSync } from 'node:fs';
import { linkList, sysctlGet, sysctlSet } from '../../native/index.ts';

/**
 * Switches forwarding on in this process's network namespace. IPv6 forwarding turns a host into a router, which ignores
 * router advertisements unless accept_ra is 2: where it was 1 it becomes 2, or the node would lose its default route.
 */
export async function prepareNode(): Promise<void> {
  await sysctlSet({ key: 'net/ipv4/ip_forward', value: '1' });
  if (!hasIpv6()) return;
  if ((await sysctlGet({ key: 'net/ipv6/conf/all/forwarding' })) === '1') return;
  for (const name of ['default', ...(await linkList({})).map((link) => link.name)]) {
    const key = `net/ipv6/conf/${name}/accept_ra`;
    if ((await sysctlGet({ key }).catch(absent)) === '1') await sysctlSet({ key, value: '2' }).catch(absent);
  }
  await sysctlSet({ key: 'net/ipv6/conf/all/forwarding', value: '1' });
}

/** False when the kernel was built or started without IPv6 (ipv6.disable=1): the same in every namespace. */
export function hasIpv6(): boolean {
  return existsSync('/proc/sys/net/ipv6');
}

/** A device that went away in this moment. */
function absent(error: unknown): undefined {
  if ((error as { code?: string }).code !== 'ENOENT') throw error;
}
