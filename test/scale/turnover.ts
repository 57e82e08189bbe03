/**
 * Pods are replaced by others that get their addresses, and each time it is noted when a bare watch saw the new entry and
 * when the kernel's map had it (observer.ts). The difference is what the agent takes beyond the watch.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Address } from '../../agent/model/address.ts';
import { until } from '../kit/until.ts';
import type { Server } from './bare-watch.ts';
import type { Crowd } from './crowd.ts';
import { nowMs, type Observed } from './observer.ts';
import { podOf, podsOf, podsPerNode, type Scale } from './population.ts';

/** One pod that took another's place, milliseconds. */
export interface Change {
  readonly uid: string;
  readonly askedMs: number;
}

/** With what was seen of it. */
export type Arrival = Change & Observed;

const OBSERVER = fileURLToPath(new URL('observer.ts', import.meta.url));
const SETTLE_MS = 60_000;

export class Turnover {
  readonly #crowd: Crowd;
  readonly #scale: Scale;
  readonly #observer: ChildProcess;
  readonly #observed = new Map<string, Observed>();
  /** By node, by pod: how often it was replaced. */
  readonly #generations = new Map<number, Map<number, number>>();

  private constructor(crowd: Crowd, scale: Scale, observer: ChildProcess) {
    this.#crowd = crowd;
    this.#scale = scale;
    this.#observer = observer;
  }

  /** `pinDirectory`: of the agent that is observed. */
  static async start(server: Server, pinDirectory: string, crowd: Crowd, scale: Scale): Promise<Turnover> {
    const observer = spawn(process.execPath, [OBSERVER, server.url, server.caFile, pinDirectory], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TOKEN: server.token },
    });
    const turnover = new Turnover(crowd, scale, observer);
    await new Promise<void>((resolve, reject) => {
      observer.once('exit', (code) => reject(new Error(`the observer ended with ${code}`)));
      createInterface({ input: observer.stdout }).on('line', (line) => {
        if (line === 'ready') return resolve();
        const observed = JSON.parse(line) as Observed;
        turnover.#observed.set(observed.uid, observed);
      });
    });
    return turnover;
  }

  /** Replaces a pod; resolves when the API server has accepted it, whether or not anybody knows of it yet. */
  async replace(node: number, pod: number): Promise<Change> {
    const generations = this.#generations.get(node) ?? new Map<number, number>();
    this.#generations.set(node, generations);
    const generation = (generations.get(pod) ?? 0) + 1;
    generations.set(pod, generation);
    const change = { uid: podOf(this.#scale, node, pod, generation).uid, askedMs: nowMs() };
    await this.#crowd.nodes.get(node)?.publish(podsOf(this.#scale, node, generations));
    return change;
  }

  /** Resolves when the kernel has the changes. */
  async arrived(changes: readonly Change[]): Promise<Arrival[]> {
    const missing = () => changes.filter(({ uid }) => !this.#observed.has(uid)).length;
    await until(() => missing() === 0, {
      what: 'changes to reach the kernel',
      timeoutMs: SETTLE_MS,
      everyMs: 5,
      detail: () => `${missing()} of ${changes.length} did not`,
    });
    return changes.flatMap((change) => {
      const observed = this.#observed.get(change.uid);
      return observed ? [{ ...change, ...observed }] : [];
    });
  }

  /** All addresses of simulated pods, as the kernel should have them. */
  expected(): Map<Address, number> {
    const pods = [...this.#crowd.nodes.keys()].flatMap((node) =>
      podsOf(this.#scale, node, this.#generations.get(node)),
    );
    return new Map(pods.flatMap(({ addresses, identity }) => addresses.map((address) => [address, identity])));
  }

  close(): void {
    this.#observer.kill('SIGKILL');
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** One after the other: each is in the kernel before the next is asked for. */
export async function oneByOne(turnover: Turnover, scale: Scale, count: number): Promise<Arrival[]> {
  const arrivals: Arrival[] = [];
  for (let i = 0; i < count; i++) {
    const change = await turnover.replace(1 + (i % scale.nodes), Math.floor(i / scale.nodes) % podsPerNode(scale));
    arrivals.push(...(await turnover.arrived([change])));
  }
  return arrivals;
}

/** So many a second, however long they take. */
export async function storm(turnover: Turnover, scale: Scale, perSecond: number, seconds: number): Promise<Arrival[]> {
  const asked: Promise<Change>[] = [];
  const startMs = nowMs();
  for (let i = 0; i < perSecond * seconds; i++) {
    const dueMs = startMs + (i * 1000) / perSecond - nowMs();
    if (dueMs > 0) await new Promise((resolve) => setTimeout(resolve, dueMs));
    asked.push(turnover.replace(1 + (i % scale.nodes), Math.floor(i / scale.nodes) % podsPerNode(scale)));
  }
  return turnover.arrived(await Promise.all(asked));
}

/** Milliseconds between the watch and the map. */
export function beyondWatch(arrivals: readonly Arrival[]): number[] {
  return arrivals.map(({ seenMs, writtenMs }) => writtenMs - seenMs);
}

/** Milliseconds between asking the API server and the watch. */
export function watchTimes(arrivals: readonly Arrival[]): number[] {
  return arrivals.map(({ seenMs, askedMs }) => seenMs - askedMs);
}
