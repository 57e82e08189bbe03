/**
 * The tables in memory, and a judge that reads them as bpf/lib does: enough to see, between any two writes of a plan,
 * what each pod would decide. Used by datapath-plan*.test.ts; independent of agent/datapath's own code.
 */

import type { DatapathRows, EndpointRow, NodeRow, PeerRow, RangeRow } from '../../agent/datapath/datapath.ts';
import type { Held } from '../../agent/datapath/plan/held.ts';
import { heldIn } from '../../agent/datapath/plan/held.ts';
import type { Op } from '../../agent/datapath/plan/plan.ts';
import { type Address, prefixContains, prefixLength } from '../../agent/model/address.ts';
import type {
  AddressClassRow,
  IdentityClassRow,
  PolicyDirectionRow,
  PolicyRow,
  TierVerdicts,
  VerdictKey,
  VerdictRow,
} from '../../agent/model/verdict.ts';

export type Verdict = 'allow' | 'deny' | 'unknown' | 'no policy' | 'no endpoint';

export interface Probe {
  readonly endpoint: number;
  readonly direction: 'ingress' | 'egress';
  /** The peer: whoever lives at the address, or the pod in that slot of this node. */
  readonly peer: Address | number;
  readonly port: number;
}

export type Party = Pick<PeerRow, 'identity' | 'kind'>;

const TCP = 6;
const verdictSlot = (key: VerdictKey): string =>
  [key.policy, key.classId, key.direction, key.protocol, key.port, key.portBits].join();

export class Memory {
  readonly endpoints = new Map<number, EndpointRow>();
  readonly policies = new Map<number, PolicyRow>();
  readonly verdicts = new Map<string, VerdictRow>();
  readonly identityClasses = new Map<string, IdentityClassRow>();
  readonly addressClasses = new Map<string, AddressClassRow>();
  readonly identities = new Set<number>();
  readonly peers = new Map<string, PeerRow>();
  readonly ranges = new Map<string, RangeRow>();
  readonly nodes = new Map<number, NodeRow>();
  epoch = 0;

  static of(rows: DatapathRows): Memory {
    const memory = new Memory();
    for (const row of rows.endpoints) memory.do({ kind: 'endpoint.point', row });
    for (const row of rows.policy.policies) memory.do({ kind: 'policy.set', row });
    for (const row of rows.policy.verdicts) memory.do({ kind: 'verdict.set', row });
    for (const row of rows.policy.identityClasses) memory.do({ kind: 'identityClass.set', row });
    for (const row of rows.policy.addressClasses) memory.do({ kind: 'addressClass.set', row });
    for (const row of rows.policy.identities) memory.do({ kind: 'identity.add', row });
    for (const row of rows.peers) memory.do({ kind: 'peer.set', row });
    for (const row of rows.ranges) memory.do({ kind: 'range.set', row });
    return memory;
  }

  do(op: Op): void {
    switch (op.kind) {
      case 'endpoint.clear':
        this.endpoints.delete(op.key.id);
        break;
      case 'endpoint.point':
        this.endpoints.set(op.row.id, op.row);
        break;
      case 'verdict.set':
        this.verdicts.set(verdictSlot(op.row), op.row);
        break;
      case 'verdict.delete':
        this.verdicts.delete(verdictSlot(op.key));
        break;
      case 'identityClass.set':
        this.identityClasses.set(`${op.row.set}:${op.row.identity}`, op.row);
        break;
      case 'identityClass.delete':
        this.identityClasses.delete(`${op.key.set}:${op.key.identity}`);
        break;
      case 'addressClass.set':
        this.addressClasses.set(`${op.row.set}:${op.row.prefix}`, op.row);
        break;
      case 'addressClass.delete':
        this.addressClasses.delete(`${op.key.set}:${op.key.prefix}`);
        break;
      case 'identity.add':
        this.identities.add(op.row);
        break;
      case 'identity.delete':
        this.identities.delete(op.key);
        break;
      case 'policy.set':
        this.policies.set(op.row.id, op.row);
        break;
      case 'policy.delete':
        this.policies.delete(op.key.id);
        break;
      case 'peer.set':
        this.peers.set(op.row.address, op.row);
        break;
      case 'peer.delete':
        this.peers.delete(op.key.address);
        break;
      case 'range.set':
        this.ranges.set(op.row.prefix, op.row);
        break;
      case 'range.delete':
        this.ranges.delete(op.key.prefix);
        break;
      case 'node.set':
        this.nodes.set(op.row.number, op.row);
        break;
      case 'node.delete':
        this.nodes.delete(op.key.number);
        break;
      case 'backends.set':
      case 'backends.delete':
      case 'service.set':
      case 'service.delete':
      case 'virtualAddress.set':
      case 'virtualAddress.delete':
        break; // Services have a test of their own: service-plan.test.ts.
      case 'epoch.bump':
        this.epoch += 1;
        break;
    }
  }

  rows(): DatapathRows {
    return {
      policy: {
        policies: [...this.policies.values()],
        verdicts: [...this.verdicts.values()],
        identityClasses: [...this.identityClasses.values()],
        addressClasses: [...this.addressClasses.values()],
        identities: [...this.identities],
        subjects: [],
      },
      endpoints: [...this.endpoints.values()],
      peers: [...this.peers.values()],
      ranges: [...this.ranges.values()],
      ...(this.nodes.size > 0 && { nodes: [...this.nodes.values()] }),
    };
  }

  held(): Held {
    return heldIn(this.rows());
  }

  judge(probe: Probe): Verdict {
    return this.judgeBetween(probe, this.endpoints.get(probe.endpoint), this.who(probe.peer));
  }

  /** What these tables say when the pod's row and the peer are such. */
  judgeBetween(probe: Probe, endpoint: EndpointRow | undefined, peer: Party | undefined): Verdict {
    if (!endpoint) return 'no endpoint';
    const policy = this.policies.get(endpoint.policy);
    if (!policy) return 'no policy';
    return peer ? this.judgePeer(policy, probe, peer) : 'no endpoint';
  }

  /** Verdict of one policy about one peer. */
  private judgePeer(policy: PolicyRow, probe: Probe, peer: Party): Verdict {
    const header = policy[probe.direction];
    const byIdentity =
      header.selectorSet === 0 ? 0 : (this.identityClasses.get(`${header.selectorSet}:${peer.identity}`)?.classId ?? 0);
    const isKnown = byIdentity !== 0 || peer.identity < 256 || this.identities.has(peer.identity);
    if (!isKnown && (header.isolated || header.hasDeny)) return 'unknown';
    const classes = [byIdentity, this.addressClass(header, probe.peer, peer.kind)].filter((one) => one !== 0);
    if (header.hasAny) classes.push(0);
    const found = classes.map((one) => this.lookup(policy.id, one, probe));
    for (const tier of [0, 1, 2] as const) {
      const winners = found.map((verdicts) => verdicts?.[tier]).filter((verdict) => verdict !== undefined);
      const best = winners.sort((a, b) => b.precedence - a.precedence)[0];
      if (best && best.action !== 'pass') return best.action;
      if (tier === 1 && header.isolated) return 'deny';
    }
    return 'allow';
  }

  /** Who the peer of a probe is; undefined: nobody. */
  who(peer: Address | number): Party | undefined {
    if (typeof peer !== 'number') return this.peerAt(peer);
    const endpoint = this.endpoints.get(peer);
    return endpoint && { identity: endpoint.identity, kind: 'pod' };
  }

  private peerAt(address: Address): Party {
    return this.peers.get(address) ?? longest(this.ranges.values(), address) ?? { identity: 9, kind: 'outside' };
  }

  private addressClass(header: PolicyDirectionRow, address: Address | number, kind: PeerRow['kind']): number {
    if (typeof address === 'number') return 0; // Of pods the engine in small says nothing by address.
    const rows = [...this.addressClasses.values()].filter((row) => row.set === header.addressSet && row.set !== 0);
    return longest(rows, address)?.[kind] ?? 0;
  }

  private lookup(policy: number, classId: number, probe: Probe): TierVerdicts | undefined {
    let best: VerdictRow | undefined;
    for (const row of this.verdicts.values()) {
      if (row.policy !== policy || row.classId !== classId || row.direction !== probe.direction) continue;
      if (row.protocol !== undefined && row.protocol !== TCP) continue;
      if (row.protocol !== undefined && probe.port >> (16 - row.portBits) !== row.port >> (16 - row.portBits)) continue;
      const bits = (of: VerdictRow): number => (of.protocol === undefined ? -1 : of.portBits);
      if (best === undefined || bits(row) > bits(best)) best = row;
    }
    return best?.enforced;
  }
}

function longest<Row extends { readonly prefix: Parameters<typeof prefixLength>[0] }>(
  rows: Iterable<Row>,
  address: Address,
): Row | undefined {
  let best: Row | undefined;
  for (const row of rows) {
    if (!prefixContains(row.prefix, address)) continue;
    if (best === undefined || prefixLength(row.prefix) > prefixLength(best.prefix)) best = row;
  }
  return best;
}
