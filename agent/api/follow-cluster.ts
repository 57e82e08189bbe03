/**
 * A stream of the flows of all nodes in one order: this agent's own, and those of the others as they stream them here. A
 * node that breaks off is named, tried again and picked up where it was; one that joins later is taken in.
 */
import { formatTime } from '../flow/clock.ts';
import type { FlowLine, NodeStatus } from '../flow/flow.ts';
import { HoldBack } from '../flow/merge.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import type { Peer, Peers } from './peers.ts';

/** How long a line waits for earlier ones of other nodes, and how often nodes are looked for that are not followed. */
const TIMES = { holdMs: 300, lookMs: 2000 } as const;

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

/** What was seen of a node last, to go on there: flows of exactly that time come again. */
interface Seen {
  time: string;
  uuids: Set<string>;
}

export async function* followCluster(stream: ClusterStream): AsyncGenerator<FlowLine[], void, void> {
  const { own, node, peers, path, signal, clock = systemClock } = stream;
  const buffer = new HoldBack(clock, TIMES.holdMs);
  const running = new Set<string>();
  const said = new Map<string, string>();
  const seen = new Map<string, Seen>();

  function tell(state_change: NodeStatus['state_change'], name: string, message: string): void {
    const what = `${state_change} ${message}`;
    if (said.get(name) === what) return;
    said.set(name, what);
    const node_status = { state_change, node_names: [name], message };
    void buffer.add({ node_status, node_name: node, time: formatTime(Date.now()) });
  }

  async function pump(peer: Peer): Promise<void> {
    running.add(peer.node);
    const since = seen.get(peer.node)?.time;
    try {
      for await (const lines of peers.follow(peer, since === undefined ? path : resumed(path, since), signal)) {
        tell('NODE_CONNECTED', peer.node, '');
        for (const line of lines) if (isNew(seen, peer.node, line)) await buffer.add(line);
      }
      if (!signal.aborted) tell('NODE_UNAVAILABLE', peer.node, 'the agent ended the stream; trying again');
    } catch (error) {
      if (!signal.aborted) tell('NODE_UNAVAILABLE', peer.node, `${(error as Error).message}; trying again`);
    } finally {
      running.delete(peer.node);
    }
  }

  function look(): void {
    if (signal.aborted) return;
    const others = peers.others();
    for (const peer of others) if (!running.has(peer.node)) void pump(peer);
    for (const name of said.keys()) {
      if (!others.some((peer) => peer.node === name)) tell('NODE_GONE', name, 'the node left the cluster');
    }
    clock.after(TIMES.lookMs, look);
  }

  async function pumpOwn(): Promise<void> {
    try {
      for await (const lines of own) for (const line of lines) await buffer.add(line);
    } finally {
      buffer.end();
    }
  }

  signal.addEventListener('abort', () => buffer.end(), { once: true });
  look();
  const ownEnded = pumpOwn();
  ownEnded.catch(() => {}); // told below, when the buffer is empty
  for await (const line of buffer.lines()) yield [line];
  await ownEnded;
}

function resumed(path: string, since: string): string {
  const [resource = '', text = ''] = path.split('?', 2);
  const query = new URLSearchParams(text);
  query.delete('last');
  query.set('since', since);
  return `${resource}?${query}`;
}

function isNew(seen: Map<string, Seen>, node: string, { flow }: FlowLine): boolean {
  if (!flow) return true;
  const last = seen.get(node);
  if (last?.time !== flow.time) seen.set(node, { time: flow.time, uuids: new Set([flow.uuid]) });
  else if (last.uuids.has(flow.uuid)) return false;
  else last.uuids.add(flow.uuid);
  return true;
}
