/**
 * Pods are replaced by others that get their addresses, and each time it is noted when a bare watch saw the new entry and
 * when the kernel's map had it. The difference is what the agent takes beyond the watch.
 */
import { SLICES } from '../../agent/cluster/objects.ts';
import { collectionPath } from '../../agent/kubernetes/path.ts';
import type { Address } from '../../agent/model/address.ts';
import type { PublishedEndpoint } from '../../agent/model/object.ts';
import type { ApiServer } from '../cluster/api-server.ts';
import { until } from '../kit/until.ts';
import { BareWatch } from './bare-watch.ts';
import type { Crowd } from './crowd.ts';
import type { PeerMap } from './peer-map.ts';
import { podOf, podsOf, podsPerNode, type Scale } from './population.ts';

/** One pod that took another's place. All in milliseconds. */
export interface Change {
  readonly pod: PublishedEndpoint;
  readonly askedMs: number;
  /** When a bare watch had the entry; undefined: not yet. */
  seenMs?: number;
  /** When the kernel's map had the pod's identity at all its addresses. */
  writtenMs?: number;
}

/** How often the map is looked at while something is awaited: what a time can be too long by. */
const LOOK_MS = 1;
const SETTLE_MS = 60_000;

export class Turnover {
  readonly #crowd: Crowd;
  readonly #scale: Scale;
  readonly #map: PeerMap;
  readonly #watch: BareWatch;
  /** By node, by pod: how often it was replaced. */
  readonly #generations = new Map<number, Map<number, number>>();
  readonly #unseen: Map<string, Change>;
  readonly #unwritten = new Set<Change>();
  readonly #looking: NodeJS.Timeout;

  private constructor(crowd: Crowd, scale: Scale, map: PeerMap, watch: BareWatch, unseen: Map<string, Change>) {
    this.#crowd = crowd;
    this.#scale = scale;
    this.#map = map;
    this.#watch = watch;
    this.#unseen = unseen;
    this.#looking = setInterval(() => this.#look(), LOOK_MS);
  }

  static async start(api: ApiServer, crowd: Crowd, scale: Scale, map: PeerMap): Promise<Turnover> {
    const unseen = new Map<string, Change>();
    const watch = await BareWatch.start(api, collectionPath(SLICES), (line) => {
      const seenMs = performance.now();
      // Only what is awaited is looked for: a bare watch is not to cost what the agent's costs.
      for (const [uid, change] of unseen) {
        if (!line.includes(uid)) continue;
        change.seenMs = seenMs;
        unseen.delete(uid);
      }
    });
    return new Turnover(crowd, scale, map, watch, unseen);
  }

  /** Replaces a pod; resolves when the API server has accepted it, whether or not anybody knows of it yet. */
  async replace(node: number, pod: number): Promise<Change> {
    const generations = this.#generations.get(node) ?? new Map<number, number>();
    this.#generations.set(node, generations);
    const generation = (generations.get(pod) ?? 0) + 1;
    generations.set(pod, generation);
    const change: Change = { pod: podOf(this.#scale, node, pod, generation), askedMs: performance.now() };
    this.#unseen.set(change.pod.uid, change);
    this.#unwritten.add(change);
    await this.#crowd.nodes.get(node)?.publish(podsOf(this.#scale, node, generations));
    return change;
  }

  /** Resolves when the kernel has the change and the bare watch saw it. */
  async arrived(changes: readonly Change[]): Promise<void> {
    await until(() => changes.every(({ seenMs, writtenMs }) => seenMs !== undefined && writtenMs !== undefined), {
      what: 'changes to reach the kernel',
      timeoutMs: SETTLE_MS,
      everyMs: LOOK_MS,
      detail: () => `${this.#unseen.size} not seen by the watch, ${this.#unwritten.size} not in the kernel`,
    });
  }

  /** All addresses of simulated pods, as the kernel should have them. */
  expected(): Map<Address, number> {
    const pods = [...this.#crowd.nodes.keys()].flatMap((node) =>
      podsOf(this.#scale, node, this.#generations.get(node)),
    );
    return new Map(pods.flatMap(({ addresses, identity }) => addresses.map((address) => [address, identity])));
  }

  #look(): void {
    for (const change of this.#unwritten) {
      const { addresses, identity } = change.pod;
      if (!addresses.every((address) => this.#map.identityAt(address) === identity)) continue;
      change.writtenMs = performance.now();
      this.#unwritten.delete(change);
    }
  }

  close(): void {
    clearInterval(this.#looking);
    this.#watch.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** One after the other: each is in the kernel before the next is asked for. */
export async function oneByOne(turnover: Turnover, scale: Scale, count: number): Promise<Change[]> {
  const changes: Change[] = [];
  for (let i = 0; i < count; i++) {
    const change = await turnover.replace(1 + (i % scale.nodes), Math.floor(i / scale.nodes) % podsPerNode(scale));
    await turnover.arrived([change]);
    changes.push(change);
  }
  return changes;
}

/** So many a second, however long they take. */
export async function storm(turnover: Turnover, scale: Scale, perSecond: number, seconds: number): Promise<Change[]> {
  const asked: Promise<Change>[] = [];
  const startMs = performance.now();
  for (let i = 0; i < perSecond * seconds; i++) {
    const dueMs = startMs + (i * 1000) / perSecond - performance.now();
    if (dueMs > 0) await new Promise((resolve) => setTimeout(resolve, dueMs));
    asked.push(turnover.replace(1 + (i % scale.nodes), Math.floor(i / scale.nodes) % podsPerNode(scale)));
  }
  const changes = await Promise.all(asked);
  await turnover.arrived(changes);
  return changes;
}

/** Milliseconds between the watch and the map. */
export function beyondWatch(changes: readonly Change[]): number[] {
  return changes.map(({ seenMs = Number.NaN, writtenMs = Number.NaN }) => writtenMs - seenMs);
}

/** Milliseconds between asking the API server and the watch. */
export function watchTimes(changes: readonly Change[]): number[] {
  return changes.map(({ seenMs = Number.NaN, askedMs }) => seenMs - askedMs);
}
