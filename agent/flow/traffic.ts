/**
 * Who talks to whom, summed over records: connections, bytes, drops, by pair and by rule. What a connection moved is the
 * difference of its first and last totals in the records, so a window that opens in the middle counts only its own part.
 */
import { EventType } from '../datapath/layout.gen.ts';
import { FIRST_POD_IDENTITY } from '../model/identity.ts';
import type { RuleInfo } from '../model/verdict.ts';
import { DESTINATION, type PacketSide, SOURCE, type StoredFlow } from './decode.ts';
import { dropReason } from './drop-reason.ts';
import { isolatedBy } from './reason.ts';
import { protocolName } from './transport.ts';

export const GROUPINGS = ['pod', 'workload', 'namespace'] as const;
/** What a party is called: its pod or address, its workload, its namespace. */
export type Grouping = (typeof GROUPINGS)[number];

/** A pair and one port of the second: initiator to responder. */
export interface PairTraffic {
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  /** Of the responder; 0 where the protocol has none. */
  readonly port: number;
  readonly connections: number;
  readonly drops: number;
  /** Both ways together. */
  readonly packets: number;
  readonly bytes: number;
  /** ms since 1970. */
  readonly lastSeen: number;
}

/** Drops by what decided: a rule, the isolation by policies, or the reason alone. */
export interface DropTraffic {
  readonly reason: string;
  readonly rule: RuleInfo | undefined;
  /** Policies that isolate, where no rule decided: "CiliumNetworkPolicy default/backend". */
  readonly isolatedBy: readonly string[];
  readonly drops: number;
  readonly lastSeen: number;
}

interface Row extends PairTraffic {
  connections: number;
  drops: number;
  packets: number;
  bytes: number;
  lastSeen: number;
}

interface Connection {
  readonly row: Row;
  packets: number;
  bytes: number;
}

/** Most pairs and most connections looked at: beyond, what is new is counted as left out. */
const PAIRS_MAX = 50_000;
const CONNECTIONS_MAX = 500_000;

export class TrafficSummary {
  /** Events that were left out because there were too many pairs or connections. */
  leftOut = 0;
  flows = 0;
  readonly #grouping: Grouping;
  readonly #once: boolean;
  readonly #rows = new Map<string, Row>();
  readonly #drops = new Map<string, DropTraffic & { drops: number; lastSeen: number }>();
  readonly #connections = new Map<number, Connection>();

  /** @param once a connection is left to the node of its initiator, so that the sums of several nodes may be added */
  constructor(grouping: Grouping, once: boolean) {
    this.#grouping = grouping;
    this.#once = once;
  }

  readonly add = (flow: StoredFlow): void => {
    if (flow.family === 0) return;
    this.flows++;
    if (flow.isDrop) {
      this.#addDrop(flow);
      return;
    }
    if (flow.type === EventType.EVENT_AUDIT || (this.#once && isElsewhere(flow))) return;
    const row = this.#row(flow);
    if (row === undefined) return;
    if (flow.type === EventType.EVENT_NEW) row.connections++;
    const packets = flow.packets(0) + flow.packets(1);
    const bytes = flow.bytes(0) + flow.bytes(1);
    const key = Number(flow.createdNs);
    const known = this.#connections.get(key);
    if (known !== undefined) {
      row.packets += Math.max(0, packets - known.packets);
      row.bytes += Math.max(0, bytes - known.bytes);
      known.packets = packets;
      known.bytes = bytes;
      return;
    }
    if (this.#connections.size >= CONNECTIONS_MAX) {
      this.leftOut++;
      return;
    }
    if (flow.type === EventType.EVENT_NEW) {
      row.packets += packets;
      row.bytes += bytes;
    }
    this.#connections.set(key, { row, packets, bytes });
  };

  pairs(): PairTraffic[] {
    return [...this.#rows.values()].sort((a, b) => b.bytes - a.bytes || b.drops - a.drops);
  }

  drops(): DropTraffic[] {
    return [...this.#drops.values()].sort((a, b) => b.drops - a.drops);
  }

  #addDrop(flow: StoredFlow): void {
    const row = this.#row(flow);
    if (row !== undefined) row.drops++;
    const rule = flow.rule(flow.direction);
    const isolating = (isolatedBy(flow) ?? []).map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`);
    const reason = dropReason(flow.reason).name;
    const key = [reason, rule?.id ?? 0, ...isolating].join('\u0000');
    const known = this.#drops.get(key);
    if (known !== undefined) {
      known.drops++;
      known.lastSeen = flow.timeMs;
    } else if (this.#drops.size < PAIRS_MAX) {
      this.#drops.set(key, { reason, rule, isolatedBy: isolating, drops: 1, lastSeen: flow.timeMs });
    }
  }

  #row(flow: StoredFlow): Row | undefined {
    const [initiator, responder] = sides(flow);
    const from = partyText(flow, initiator, this.#grouping);
    const to = partyText(flow, responder, this.#grouping);
    const protocol = protocolName(flow.protocol);
    const port = protocol.startsWith('ICMP') ? 0 : flow.port(responder);
    const key = `${from}\u0000${to}\u0000${protocol}\u0000${port}`;
    let row = this.#rows.get(key);
    if (row === undefined) {
      if (this.#rows.size >= PAIRS_MAX) {
        this.leftOut++;
        return undefined;
      }
      row = { from, to, protocol, port, connections: 0, drops: 0, packets: 0, bytes: 0, lastSeen: 0 };
      this.#rows.set(key, row);
    }
    row.lastSeen = flow.timeMs;
    return row;
  }
}

function sides(flow: StoredFlow): [initiator: PacketSide, responder: PacketSide] {
  return flow.isReply ? [DESTINATION, SOURCE] : [SOURCE, DESTINATION];
}

/** Its initiator is a pod of another node: that node counts it. */
function isElsewhere(flow: StoredFlow): boolean {
  const [initiator] = sides(flow);
  return flow.endpoint(initiator) === 0 && flow.identity(initiator) >= FIRST_POD_IDENTITY;
}

/** What has no such name goes by its reserved identity, and only among pods by its address. */
function partyText(flow: StoredFlow, side: PacketSide, grouping: Grouping): string {
  const name = flow.name(side);
  if (name !== undefined && name.pod !== '') {
    if (grouping === 'namespace') return name.namespace;
    const { workload } = name;
    return `${name.namespace}/${grouping === 'workload' && workload ? workload.name : name.pod}`;
  }
  if (grouping === 'pod') return name?.node ? `node ${name.node}` : (flow.address(side) ?? 'unknown');
  const reserved = [...(flow.labels(side)?.keys() ?? [])].find((label) => label.startsWith('reserved:'));
  return reserved ?? `identity ${flow.identity(side)}`;
}
