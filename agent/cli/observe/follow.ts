/** Follows the flows of all nodes of a cluster, also of those that join later or whose agent comes back. */
import type { FlowLine } from '../../flow/flow.ts';
import { HoldBack } from '../../flow/merge.ts';
import type { Clock } from '../../run/clock.ts';
import type { Agents } from '../agents.ts';
import type { Client, Query } from '../client.ts';
import { CliError, type Io } from '../command.ts';

export interface FollowTimes {
  /** How long a line waits for earlier ones of other nodes. */
  readonly holdMs: number;
  /** How often it is looked whether a node is not followed. */
  readonly lookMs: number;
  /** How often the API server is asked for nodes while all are followed that are known. */
  readonly listMs: number;
}

const USUAL: FollowTimes = { holdMs: 500, lookMs: 3000, listMs: 30_000 };

/** Its timers keep the process: also while every stream is broken, somebody waits for flows. */
const waitingClock: Clock = {
  nowMs: () => performance.now(),
  after(ms, then) {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
};

/** What was seen of a node: where to go on after its stream broke. */
interface Seen {
  time: string;
  /** Flows of exactly that time, which come again. */
  uuids: Set<string>;
}

export async function* followAll(
  agents: Agents,
  query: Query,
  io: Io,
  times: FollowTimes = USUAL,
  clock: Clock = waitingClock,
): AsyncGenerator<FlowLine, void, void> {
  const { signal } = io;
  const buffer = new HoldBack(clock, times.holdMs);
  const running = new Set<string>();
  const seen = new Map<string, Seen>();
  const complaints = new Map<string, string>();

  function complain(node: string, why: string): void {
    if (complaints.get(node) === why) return;
    complaints.set(node, why);
    io.err(`weir: ${node}: ${why}; trying again\n`);
  }

  const begunMs = clock.nowMs();
  /** Where to go on: a node that nothing came from so far is asked for all since the beginning, by its own clock. */
  function resumed(node: string, isFirst: boolean): Query {
    const before = seen.get(node);
    if (before) return { ...query, last: undefined, since: before.time };
    if (isFirst || query.last !== undefined || query.since !== undefined) return query;
    return { ...query, since: `${((clock.nowMs() - begunMs) / 1000).toFixed(3)}s` };
  }

  async function pump(node: string, client: Client, isFirst: boolean): Promise<void> {
    running.add(node);
    try {
      for await (const line of client.follow<FlowLine>('/v1/flows', resumed(node, isFirst))) {
        if (complaints.delete(node)) io.err(`weir: ${node}: flows come again\n`);
        if (isNew(seen, node, line)) await buffer.add(line);
      }
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      if (!signal.aborted) complain(node, error.message);
    } finally {
      running.delete(node);
    }
  }

  let failure: { readonly error: unknown } | undefined;
  let nodes = agents.all;
  let listedMs = clock.nowMs();
  let started = false;
  let isOver = false;
  let cancelLook = (): void => {};
  async function look(): Promise<void> {
    try {
      const isFirst = !started;
      const isLacking = started && nodes.some(({ node }) => !running.has(node));
      started = true;
      if (isLacking || clock.nowMs() - listedMs >= times.listMs) {
        nodes = await agents.again();
        listedMs = clock.nowMs();
      }
      for (const { node, client, why } of nodes) {
        if (running.has(node)) continue;
        if (!client) complain(node, why);
        else pump(node, client, isFirst).catch((error) => fail(error));
      }
    } catch (error) {
      if (!signal.aborted) complain('the cluster', (error as Error).message);
    }
    if (!isOver) cancelLook = clock.after(times.lookMs, () => void look());
  }
  // What is wrong with the question itself ends everything.
  function fail(error: unknown): void {
    failure ??= { error };
    buffer.end();
  }

  signal.addEventListener('abort', () => buffer.end(), { once: true });
  void look();
  try {
    yield* buffer.lines();
  } finally {
    isOver = true;
    cancelLook();
  }
  if (failure) throw failure.error;
}

/** False for a flow that was there before the stream broke. */
function isNew(seen: Map<string, Seen>, node: string, line: FlowLine): boolean {
  const { flow } = line;
  if (!flow) return true;
  const last = seen.get(node);
  if (last?.time !== flow.time) seen.set(node, { time: flow.time, uuids: new Set([flow.uuid]) });
  else if (last.uuids.has(flow.uuid)) return false;
  else last.uuids.add(flow.uuid);
  return true;
}
