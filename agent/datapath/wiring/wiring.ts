/**
 * A pod's connection to the node, made in three hops to a worker thread:
 *
 *     one veth, its far end born inside the pod's namespace | stubs attached | the node's end: up, routes, neighbours
 *                                                                            | then the pod's end: up, addresses, routes
 *
 * The node's end has no address: a pod sees 169.254.1.1 and fe80::1 as gateway through permanent neighbour entries
 * (bpf/abi/endpoint.h). The end that comes up last has a carrier at once and can send at once, the
 * other a moment later (net/core/link_watch.c); so the pod's is last. Removing the device undoes everything.
 */
import {
  batch,
  KernelError,
  type Link,
  linkCreateVeth,
  linkDelete,
  linkGet,
  type NetlinkOp,
} from '../../../native/index.ts';
import { WeirError } from '../../errors.ts';
import { type Address, bitsOf, familyOf, hostPrefix } from '../../model/address.ts';
import type { PodWiring, WiredPod } from '../datapath.ts';
import { GATEWAY_IPV6, GATEWAY_MAC } from '../layout.gen.ts';
import { addressOf, formatMac, ifindexOf } from '../map/addresses.ts';
import type { Attachment } from '../program/attach.ts';
import { DIRECTIONS } from '../program/attach.ts';
import { hasIpv6 } from './node.ts';

/** Names of the node's ends start with this; a device in our way is only removed if it has such a name. */
export const HOST_INTERFACE_PREFIX = 'weir';
export const GATEWAY = { 4: '169.254.1.1', 6: addressOf(Uint8Array.from(GATEWAY_IPV6), 6) } as const;
const HOST_MAC = formatMac(Uint8Array.from(GATEWAY_MAC));
/** What every runtime calls it. */
const FIRST_INTERFACE = 'eth0';
const LOOPBACK = 1;
const FALLBACK_MTU = 1500;

/** @throws WeirError ENDPOINT_EXISTS when the pod has such an interface, WIRING_FAILED with the step that failed */
export async function wirePod(pod: PodWiring, attachment: Attachment, nodeMtu: number): Promise<WiredPod> {
  const mtu = pod.mtu === 0 ? nodeMtu : pod.mtu;
  const index = ifindexOf(pod.id);
  const { peerIndex } = await createPair(pod, mtu);
  try {
    for (const direction of DIRECTIONS) attachment.attach(pod.id, direction);
    await batch(undefined, hostSide(pod));
    await batch(pod.netns, podSide(pod, peerIndex));
    return { hostIfindex: index, hostMac: HOST_MAC, mtu };
  } catch (cause) {
    await unwirePod(pod, attachment).catch((also: unknown) => {
      throw wiringFailed(pod, 'and what had been made could not be removed', new AggregateError([cause, also]));
    });
    throw cause instanceof WeirError ? cause : wiringFailed(pod, 'the interface pair could not be set up', cause);
  }
}

/** Removes the device (with its peer, addresses, routes and filters) and what is pinned for it. */
export async function unwirePod(pod: Pick<PodWiring, 'id' | 'hostInterface'>, attachment: Attachment): Promise<void> {
  await linkDelete({ name: pod.hostInterface });
  attachment.forget(pod.id); // After the device: no packet passes a hook that has lost its program.
}

async function createPair(pod: PodWiring, mtu: number): Promise<{ peerIndex: number }> {
  const create = () =>
    linkCreateVeth({
      name: pod.hostInterface,
      index: ifindexOf(pod.id),
      mac: HOST_MAC,
      mtu,
      peer: { name: pod.interfaceName, netns: pod.netns, mac: pod.mac, mtu },
    });
  try {
    return await create();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    if (error.code === 'EEXIST' || error.code === 'EBUSY') {
      await clearTheWay(pod, error);
      return await create().catch((again: unknown) => {
        throw wiringFailed(pod, 'the interface pair could not be made', again);
      });
    }
    throw wiringFailed(pod, 'the interface pair could not be made', error);
  }
}

/** Something has the name or the index. In the pod it is the runtime's mistake; on the node what an earlier pod of ours left is removed. */
async function clearTheWay(pod: PodWiring, cause: KernelError): Promise<void> {
  if (await linkGet({ name: pod.interfaceName, netns: pod.netns })) {
    const message = `the pod's namespace has an interface ${pod.interfaceName} already`;
    throw new WeirError('ENDPOINT_EXISTS', 'wire', message, { cause });
  }
  const taken = [await linkGet({ index: ifindexOf(pod.id) }), await linkGet({ name: pod.hostInterface })];
  for (const link of taken.filter((found): found is Link => found !== undefined)) {
    if (!link.name.startsWith(HOST_INTERFACE_PREFIX) || link.kind !== 'veth') {
      const what = `interface index ${link.index} is taken by ${link.name}, which is not one of ours`;
      throw wiringFailed(pod, `${what}: remove it, or the pod cannot have endpoint id ${pod.id}`, cause);
    }
    await linkDelete({ index: link.index });
  }
}

function hostSide({ id, hostInterface, addresses, mac }: PodWiring): NetlinkOp[] {
  const index = ifindexOf(id);
  // Hardened nodes switch IPv6 off on new devices: without it this one can have no route to the pod.
  const needed = addresses.some((address) => familyOf(address) === 6) ? { disable_ipv6: '0' } : {};
  return [
    ...(hasIpv6() ? ipv6Settings(hostInterface, { ...needed, accept_ra: '0', forwarding: '1' }) : []),
    { op: 'sysctlSet', key: `net/ipv4/conf/${hostInterface}/forwarding`, value: '1' },
    { op: 'linkSet', index, ...(hasIpv6() && { addrGenMode: 'none' as const }), up: true },
    ...addresses.flatMap((address): NetlinkOp[] => [
      { op: 'routeAdd', dst: hostPrefix(address), index, scope: scopeOf(address), replace: true },
      { op: 'neighbourAdd', index, address, mac, permanent: true, replace: true },
    ]),
  ];
}

function podSide({ id, interfaceName, addresses }: PodWiring, index: number): NetlinkOp[] {
  // A pod may have further interfaces (SPEC.md, ADD): theirs are default routes for who binds to them, and eth0's wins.
  const metric = interfaceName === FIRST_INTERFACE ? {} : { metric: ifindexOf(id) };
  const families = [...new Set(addresses.map(familyOf))];
  const settings = { disable_ipv6: families.includes(6) ? '0' : '1', accept_ra: '0', accept_dad: '0' };
  return [
    ...(hasIpv6() ? ipv6Settings(interfaceName, settings) : []),
    { op: 'linkSet', index: LOOPBACK, up: true },
    { op: 'linkSet', index, up: true },
    ...addresses.map((address): NetlinkOp => {
      return { op: 'addressAdd', index, address, prefixLength: bitsOf(familyOf(address)), nodad: true };
    }),
    ...families.flatMap((family): NetlinkOp[] => [
      { op: 'neighbourAdd', index, address: GATEWAY[family], mac: HOST_MAC, permanent: true },
      ...(family === 4 ? [{ op: 'routeAdd', dst: `${GATEWAY[4]}/32`, index, scope: 'link', ...metric } as const] : []),
      { op: 'routeAdd', dst: `default${family}`, gateway: GATEWAY[family], index, onlink: true, ...metric },
    ]),
  ];
}

function ipv6Settings(device: string, values: Readonly<Record<string, string>>): NetlinkOp[] {
  return Object.entries(values).map(([key, value]) => ({
    op: 'sysctlSet',
    key: `net/ipv6/conf/${device}/${key}`,
    value,
  }));
}

const scopeOf = (address: Address) => (familyOf(address) === 4 ? 'link' : 'global');

function wiringFailed(pod: PodWiring, why: string, cause: unknown): WeirError {
  return new WeirError('WIRING_FAILED', 'wire', `${why} (${pod.interfaceName} in ${pod.netns})`, { cause });
}

/** Bytes a packet may have on the way out: the MTU of the default route's device, IPv4's before IPv6's; 1500 without one. */
export async function defaultRouteMtu(): Promise<number> {
  for (const family of [4, 6] as const) {
    const [routes] = await batch(undefined, [{ op: 'routeList', family, table: 254 }]);
    const ours = routes.filter(({ dst, index }) => dst === `default${family}` && index !== undefined);
    const [best] = ours.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
    const link = best?.index === undefined ? undefined : await linkGet({ index: best.index });
    if (link && link.mtu > 0) return link.mtu;
  }
  return FALLBACK_MTU;
}
