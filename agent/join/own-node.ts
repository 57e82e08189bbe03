/**
 * This node as its Node object has it: where it is reached, and the pod CIDRs the controller manager gave it
 * (spec.podCIDRs). While the API server cannot be reached, as it said last: the pod CIDRs of a node never change.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NODES } from '../cluster/objects.ts';
import { asWeirError } from '../errors.ts';
import type { KubernetesClient, KubernetesObject } from '../kubernetes/client.ts';
import { objectPath } from '../kubernetes/path.ts';
import { sleep } from '../kubernetes/rate-limit.ts';
import { type Address, type Prefix, parseAddress, parsePrefix } from '../model/address.ts';
import type { Node } from '../model/object.ts';
import { backoffMs } from '../run/backoff.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import { writeDurably } from '../run/durable-file.ts';
import type { Logger } from '../run/log.ts';
import { readObject } from '../source/object/read-object.ts';

export interface OwnNodeOptions {
  readonly client: Pick<KubernetesClient, 'get' | 'server'>;
  readonly nodeName: string;
  readonly stateDirectory: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

export interface OwnNode {
  readonly addresses: readonly Address[];
  /** At least one. */
  readonly podCidrs: readonly Prefix[];
}

const FILE = 'node.json';
/** How long the API server may take to answer while there is something to fall back on. */
const PATIENCE_MS = 3000;
const RETRY = { firstMs: 500, maxMs: 5000 } as const;

/** Waits until its pod CIDRs are known. Rejects with the signal's reason when it aborts. */
export async function ownNode(options: OwnNodeOptions): Promise<OwnNode> {
  const { log, signal, nodeName, clock = systemClock } = options;
  const place = join(options.stateDirectory, FILE);
  const kept = await readKept(place, nodeName);
  for (let failures = 1; ; failures++) {
    const { node, reason, isUnreachable } = await askApiServer(options);
    signal.throwIfAborted();
    if (node) {
      const { addresses, podCidrs } = node;
      await writeDurably(place, JSON.stringify({ nodeName, addresses, podCidrs }));
      return { addresses, podCidrs };
    }
    if (isUnreachable && kept) {
      log.warn('the API server does not answer: this node is as it was before', { ...kept, reason });
      return kept;
    }
    log.warn('waiting for the pod CIDRs of this node', { node: nodeName, reason });
    await sleep(backoffMs(failures, RETRY), clock, signal);
  }
}

interface Answer {
  /** Undefined: `reason` says why. */
  readonly node: Node | undefined;
  readonly reason: string;
  readonly isUnreachable: boolean;
}

async function askApiServer({ client, nodeName, signal }: OwnNodeOptions): Promise<Answer> {
  try {
    const raw = await client.get<KubernetesObject>(objectPath(NODES, '', nodeName), {
      signal,
      deadlineMs: PATIENCE_MS,
    });
    const { object, problems } = readObject({ ...raw, apiVersion: 'v1', kind: 'Node' }, FROM_API);
    if (object?.kind !== 'Node')
      return { node: undefined, reason: problems.map(({ message }) => message).join('; '), isUnreachable: false };
    if (object.value.podCidrs.length > 0) return { node: object.value, reason: '', isUnreachable: false };
    const reason = 'the controller manager has given it none yet (--allocate-node-cidrs, --cluster-cidr)';
    return { node: undefined, reason, isUnreachable: false };
  } catch (cause) {
    const { code, message } = asWeirError(cause, 'read this node');
    return { node: undefined, reason: message, isUnreachable: code === 'API_UNREACHABLE' || code === 'TIMEOUT' };
  }
}

const FROM_API = { place: '', line: () => undefined };

async function readKept(place: string, nodeName: string): Promise<OwnNode | undefined> {
  let kept: {
    readonly nodeName?: unknown;
    readonly addresses?: readonly string[];
    readonly podCidrs?: readonly string[];
  };
  try {
    kept = JSON.parse(await readFile(place, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return undefined; // Damaged: asked anew, and written anew.
    throw error;
  }
  const podCidrs = (kept.podCidrs ?? []).map(parsePrefix).filter((prefix) => prefix !== undefined);
  const addresses = (kept.addresses ?? []).map(parseAddress).filter((address) => address !== undefined);
  return kept.nodeName === nodeName && podCidrs.length > 0 ? { addresses, podCidrs } : undefined;
}
