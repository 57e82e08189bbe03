/** MTU of pods that are there already, when that of the node's uplink has changed. */
import { batch, KernelError, linkList, linkSet, netnsExists } from '../../native/index.ts';

/** Where a pod's interface is. */
export interface PodInterface {
  readonly hostInterface: string;
  readonly interfaceName: string;
  /** Path of the pod's namespace. */
  readonly netns: string;
}

export interface MtuChange {
  /** What pods were given so far, when it is known: those that have it follow. */
  readonly from: number | undefined;
  /** What fits now. Pods with more are brought down to it whatever they were given; bytes. */
  readonly to: number;
  /** The node's namespace; absent: this process's own. */
  readonly netns?: string;
}

/**
 * Sets both ends of each pod's interface. A pod that asked for a smaller MTU of its own keeps it. A pod that goes away
 * meanwhile is no error; whatever else goes wrong with a pod keeps no other from being changed.
 *
 * @returns how many were changed
 * @throws AggregateError of what went wrong, when all others are done
 */
export async function followMtu(pods: readonly PodInterface[], { from, to, netns }: MtuChange): Promise<number> {
  const links = await linkList({ netns });
  let changed = 0;
  const failures: Error[] = [];
  for (const pod of pods) {
    const host = links.find(({ name }) => name === pod.hostInterface);
    if (host === undefined || host.mtu === to || (host.mtu !== from && host.mtu < to)) continue;
    try {
      const [inside] = await batch(pod.netns, [{ op: 'linkGet', name: pod.interfaceName }]);
      if (inside === undefined) continue;
      await batch(pod.netns, [{ op: 'linkSet', index: inside.index, mtu: to }]);
      await linkSet({ index: host.index, mtu: to, netns });
      changed += 1;
    } catch (error) {
      const isGone = error instanceof KernelError && (error.code === 'ENODEV' || !(await netnsExists(pod.netns)));
      if (isGone) continue;
      const message = `MTU ${to} of the pod at ${pod.hostInterface}: ${(error as Error).message}`;
      failures.push(new Error(message, { cause: error }));
    }
  }
  if (failures.length > 0) {
    throw new AggregateError(failures, failures.map(({ message }) => message).join('; '));
  }
  return changed;
}
