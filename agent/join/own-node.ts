/**
 * This node as its Node object has it: where it is reached, and the pod CIDRs the controller manager gave it
 * (spec.podCIDRs). While the API server cannot be reached, as it said last: the pod CIDRs of a Node never change, but a Node
 * that is deleted and made anew is given others, and the ones of before to the next node.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NODES } from '../cluster/objects.ts';
import { asWeirError, WeirError } from '../errors.ts';
import type { KubernetesClient, KubernetesObject } from '../kubernetes/client.ts';
import { objectPath } from '../kubernetes/path.ts';
import { sleep } from '../kubernetes/rate-limit.ts';
import { type Address, type Prefix, parseAddress, parsePrefix } from '../model/address.ts';
import type { Node, SourceChange } from '../model/object.ts';
import { backoffMs } from '../run/backoff.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import { writeDurably } from '../run/durable-file.ts';
import type { Logger } from '../run/log.ts';
import { readObject } from '../source/object/read-object.ts';
import type { Source } from '../source/source.ts';

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
      if (JSON.stringify({ addresses, podCidrs }) !== JSON.stringify(kept)) {
        await writeDurably(place, JSON.stringify({ nodeName, addresses, podCidrs })).catch((cause: unknown) => {
          log.error('this node cannot be written down: a start needs the API server', { file: place, cause });
        });
      }
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

/**
 * The source for as long as the Node has the pod CIDRs that this agent gives addresses of; then its run rejects, and the agent
 * is started anew with the new ones.
 */
export function whileNodeStays(
  source: Source,
  { nodeName, podCidrs }: { readonly nodeName: string; readonly podCidrs: readonly Prefix[] },
): Source {
  const asSet = (prefixes: readonly Prefix[]): string => [...prefixes].sort().join(', ');
  const ofThis = (change: SourceChange): readonly Prefix[] => {
    if (change.type !== 'upsert' || change.object.kind !== 'Node') return [];
    return change.object.value.name === nodeName ? change.object.value.podCidrs : [];
  };
  return {
    name: source.name,
    async run(sink, signal) {
      const moved = new AbortController();
      const change = (changes: readonly SourceChange[]): void => {
        sink.change(changes);
        for (const now of changes.map(ofThis)) {
          if (now.length === 0 || asSet(now) === asSet(podCidrs)) continue;
          const message = `node ${nodeName} has the pod CIDRs ${asSet(now)} now, not ${asSet(podCidrs)}: starting anew`;
          moved.abort(new WeirError('CONFIG_INVALID', 'follow this node', message));
        }
      };
      const { synced, problems } = sink;
      await source.run({ change, synced, problems }, AbortSignal.any([signal, moved.signal]));
      moved.signal.throwIfAborted();
    },
  };
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
