/**
 * What CNI CHECK asks: is everything there that wiring made? What others added is theirs, and so is the MTU: the `tuning`
 * plugin changes it without a word in prevResult.
 */
import { batch, linkGet } from '../../../native/index.ts';
import { bitsOf, familyOf, hostPrefix } from '../../model/address.ts';
import type { PodWiring } from '../datapath.ts';
import { ifindexOf } from '../map/addresses.ts';
import { type Attachment, DIRECTIONS } from '../program/attach.ts';
import { GATEWAY } from './wiring.ts';

/** Each thing that is missing or changed, as one sentence. */
export async function checkPod(pod: PodWiring, attachment: Attachment): Promise<string[]> {
  return [...(await checkHostSide(pod, attachment)), ...(await checkPodSide(pod))];
}

async function checkHostSide(pod: PodWiring, attachment: Attachment): Promise<string[]> {
  const index = ifindexOf(pod.id);
  const [link, routes] = await batch(undefined, [{ op: 'linkGet', index }, { op: 'routeList' }]);
  if (link?.name !== pod.hostInterface) return [`the node has no interface ${pod.hostInterface} with index ${index}`];
  const problems = DIRECTIONS.flatMap((direction) => {
    const fault = attachment.fault(pod.id, direction);
    return fault ? [`${direction} of ${pod.hostInterface}: ${fault}`] : [];
  });
  if (!link.up) problems.push(`interface ${pod.hostInterface} is down`);
  for (const address of pod.addresses) {
    const there = routes.some((route) => route.dst === hostPrefix(address) && route.index === index);
    if (!there) problems.push(`the node has no route to ${address} by ${pod.hostInterface}`);
  }
  return problems;
}

async function checkPodSide(pod: PodWiring): Promise<string[]> {
  const { netns, interfaceName } = pod;
  const link = await linkGet({ name: interfaceName, netns });
  if (link === undefined) return [`the pod has no interface ${interfaceName}`];
  const [addresses, routes] = await batch(netns, [{ op: 'addressList', index: link.index }, { op: 'routeList' }]);
  const problems: string[] = [];
  if (!link.up) problems.push(`interface ${interfaceName} of the pod is down`);
  if (link.mac !== pod.mac.toLowerCase())
    problems.push(`interface ${interfaceName} has MAC ${link.mac}, expected ${pod.mac}`);
  for (const address of pod.addresses) {
    const family = familyOf(address);
    const isThere = addresses.some((found) => found.address === address && found.prefixLength === bitsOf(family));
    if (!isThere) problems.push(`interface ${interfaceName} lacks the address ${hostPrefix(address)}`);
    const isDefault = routes.some(
      ({ dst, gateway, index }) => dst === `default${family}` && gateway === GATEWAY[family] && index === link.index,
    );
    if (!isDefault) problems.push(`the pod has no IPv${family} default route by ${interfaceName}`);
  }
  return problems;
}
