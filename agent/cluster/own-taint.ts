/** Once the agent can serve: takes the taint off its own Node, each time it appears, and says that the network is there. */
import type { KubernetesClient } from '../kubernetes/client.ts';
import { objectPath } from '../kubernetes/path.ts';
import type { Clock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import { startLoop } from '../run/loop.ts';
import { NODES, type NodeObject } from './objects.ts';
import { hasTaint, isNetworkUnavailable, withoutTaint } from './taint.ts';

export interface OwnTaintOptions {
  readonly client: Pick<KubernetesClient, 'patch'>;
  readonly nodeName: string;
  readonly clock: Clock;
  /** Milliseconds since 1970, for the condition. */
  readonly now: () => number;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

export interface OwnTaint {
  /** The agent can serve, or cannot any more. */
  setReady(isReady: boolean): void;
  /** Our Node as the watch has it; undefined: it is gone. */
  take(node: NodeObject | undefined): void;
  readonly stopped: Promise<void>;
}

export function createOwnTaint(options: OwnTaintOptions): OwnTaint {
  const { client, nodeName, clock, log, signal } = options;
  const path = objectPath(NODES, '', nodeName);
  let isReady = false;
  let node: NodeObject | undefined;

  const loop = startLoop({
    name: 'clearing the taint of this node',
    minMs: 0,
    retryMs: 500,
    resyncMs: 10_000,
    clock,
    signal,
    run: clear,
    onError: (cause, failures) => {
      if (failures === 3) log.warn('the taint of this node could not be taken away; trying again', { cause });
    },
  });

  async function clear(): Promise<void> {
    const now = node;
    if (!isReady || !now) return;
    const { resourceVersion } = now.metadata;
    if (hasTaint(now)) {
      // Made on the version that was read: somebody else's taint that came meanwhile stays.
      const body = { metadata: { resourceVersion }, spec: { taints: withoutTaint(now) } };
      await client.patch(path, { type: 'merge', body }, { signal });
      log.info('this node takes pods: its taint is gone');
      node = undefined; // The watch brings the next version.
    }
    if (isNetworkUnavailable(now)) await sayNetworkIsThere();
  }

  async function sayNetworkIsThere(): Promise<void> {
    const time = new Date(options.now()).toISOString().replace(/\.[0-9]+Z$/, 'Z');
    const condition = {
      type: 'NetworkUnavailable',
      status: 'False',
      reason: 'WeirIsUp',
      message: 'weir-agent wires the pods of this node',
      lastHeartbeatTime: time,
      lastTransitionTime: time,
    };
    const body = { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName }, status: { conditions: [condition] } };
    await client.patch(`${path}/status`, { type: 'apply', body, fieldManager: 'weir', force: true }, { signal });
  }

  return {
    stopped: loop.stopped,
    setReady(next) {
      isReady = next;
      if (isReady) loop.trigger();
    },
    take(next) {
      node = next;
      if (isReady && node && (hasTaint(node) || isNetworkUnavailable(node))) loop.trigger();
    },
  };
}
