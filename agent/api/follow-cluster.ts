/**
 * A stream of the flows of all nodes in one order: this agent's own, and those of the others as they stream them here. A
 * node that breaks off is named, tried again and picked up where it was; one that joins later is taken in.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { formatTime } from '../flow/clock.ts';
import type { FlowLine, NodeStatus } from '../flow/flow.ts';
import { HoldBack } from '../flow/merge.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import type { Peer, Peers } from './peers.ts';

/** How long a line waits for earlier ones of other nodes, and how often nodes are looked for that are not followed. */
const TIMES = { holdMs: 300, lookMs: 2000 } as const;
/** Lines that wait: a stream that nobody reads takes no more memory. */
const HELD_MAX = 4000;

export interface ClusterStream {
  /** This agent's own lines, in batches. */
  readonly own: AsyncIterable<FlowLine[]>;
  readonly node: string;
  readonly peers: Peers;
  /** What the others are asked: path and query, with follow. */
  readonly path: string;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

interface Followed {
  readonly ending: AbortController;
  isRunning: boolean;
  /** What it is asked, first and again. */
  path: string;
  /** Told of it last. */
  said: string;
}

export async function* followCluster(stream: ClusterStream): AsyncGenerator<FlowLine[], void, void> {
  const { own, node, peers, path, signal, clock = systemClock } = stream;
  const buffer = new HoldBack(clock, TIMES.holdMs, HELD_MAX);
  const followed = new Map<string, Followed>();
  const begun = formatTime(Date.now());

  function tell(one: Followed, name: string, state_change: NodeStatus['state_change'], message: string): void {
    const what = `${state_change} ${message}`;
    if (one.said === what || one.ending.signal.aborted) return;
    one.said = what;
    const node_status = { state_change, node_names: [name], message };
    void buffer.add({ node_status, node_name: node, time: formatTime(Date.now()) });
  }

  async function pump(one: Followed, peer: Peer): Promise<void> {
    one.isRunning = true;
    const both = AbortSignal.any([signal, one.ending.signal]);
    try {
      for await (const events of peers.follow(peer, one.path, both)) {
        tell(one, peer.node, 'NODE_CONNECTED', '');
        for (const { line, cursor } of events) {
          if (line) await buffer.add(line);
          if (cursor !== undefined) one.path = from(path, { cursor });
        }
      }
      if (!both.aborted) tell(one, peer.node, 'NODE_UNAVAILABLE', 'the agent ended the stream; trying again');
    } catch (error) {
      if (!both.aborted) tell(one, peer.node, 'NODE_UNAVAILABLE', `${(error as Error).message}; trying again`);
    } finally {
      one.isRunning = false;
    }
  }

  function look(firstPath: string): void {
    if (signal.aborted) return;
    const others = peers.others();
    for (const peer of others) {
      const one = followed.get(peer.node) ?? newly(firstPath);
      followed.set(peer.node, one);
      if (!one.isRunning) void pump(one, peer);
    }
    for (const [name, one] of followed) {
      if (others.some((peer) => peer.node === name)) continue;
      tell(one, name, 'NODE_GONE', 'the node left the cluster');
      one.ending.abort();
      followed.delete(name);
    }
    // A node that joins later has seen what it has seen since the stream began.
    clock.after(TIMES.lookMs, () => look(from(path, path.includes('since=') ? {} : { since: begun })));
  }

  async function pumpOwn(): Promise<void> {
    try {
      for await (const lines of own) {
        for (const line of lines) await buffer.add(line);
        await nextTurn(); // the buffer takes much at once: others have their turn meanwhile
      }
    } finally {
      buffer.end();
    }
  }

  signal.addEventListener('abort', () => buffer.end(), { once: true });
  look(path);
  const ownEnded = pumpOwn();
  ownEnded.catch(() => {}); // told below, when the buffer is empty
  for await (const line of buffer.lines()) yield [line];
  await ownEnded;
}

function newly(path: string): Followed {
  return { ending: new AbortController(), isRunning: false, path, said: '' };
}

/** The same question, from another place on. */
function from(path: string, place: Readonly<Record<string, string>>): string {
  const { pathname, searchParams } = new URL(path, 'http://agent');
  searchParams.delete('last');
  for (const [name, value] of Object.entries(place)) searchParams.set(name, value);
  return `${pathname}?${searchParams}`;
}
