/**
 * A policy engine in small, for the planner's tests: policies of a few selectors and prefixes over a few labels, compiled
 * into the same kinds of rows the real one makes (interned sets, new id for a changed policy, extension in place for a
 * new identity). It follows the same contract as agent/policy and none of its code.
 */
import type { DatapathRows, EndpointRow, PeerRow } from '../../agent/datapath/datapath.ts';
import { type Address, type Prefix, parseAddress, parsePrefix, prefixContains } from '../../agent/model/address.ts';
import type {
  AddressClassRow,
  IdentityClassRow,
  PolicyDirectionRow,
  PolicyRow,
  TierVerdicts,
  VerdictRow,
} from '../../agent/model/verdict.ts';

/** One rule: peers with this bit in their labels, or addresses in this prefix; absent both: everybody. */
export interface Rule {
  readonly label?: number;
  readonly prefix?: number;
  readonly port: number | undefined;
  readonly deny: boolean;
}

/** What one direction of a subject should decide. */
export interface DirectionContent {
  readonly isolated: boolean;
  readonly rules: readonly Rule[];
}

/** A pod of this node: its subject, and its identity as an index into {@link World.identities}. */
export interface Resident {
  readonly subject: number;
  readonly identity: number;
}

export interface World {
  /** Labels of identity 256 + i as bits; undefined: there is no such identity. */
  readonly identities: readonly (number | undefined)[];
  /** Policies by subject: [ingress, egress]. */
  readonly subjects: readonly (readonly [DirectionContent, DirectionContent])[];
  /** Endpoint 1 + i; undefined: the slot is free. */
  readonly endpoints: readonly (Resident | undefined)[];
  /** Who lives at ADDRESSES[i]: an index into `identities`; undefined: nobody. */
  readonly peers: readonly (number | undefined)[];
}

export const LABEL_BITS = 3;
const ADDRESS_TEXTS = ['10.0.0.1', '10.0.0.2', '10.0.1.1', 'fd00::1', '192.0.2.9'];
const PREFIX_TEXTS = ['10.0.0.0/24', '10.0.0.0/16', '10.0.0.2/32', '0.0.0.0/0', 'fd00::/64'];
export const ADDRESSES = ADDRESS_TEXTS.map((text) => parseAddress(text) as Address);
export const PREFIXES = PREFIX_TEXTS.map((text) => parsePrefix(text) as Prefix);
export const PORTS = [80, 443];
const TCP = 6;

/** Numbers given out so far: they survive from one world to the next, as in an engine that lives on. */
export class Numbers {
  private readonly given = new Map<string, number>();
  private next = 16;
  of(content: string): number {
    const had = this.given.get(content);
    if (had !== undefined) return had;
    this.next += 1;
    this.given.set(content, this.next);
    return this.next;
  }

  /** As a restart does: everything gets another number, above those given before. */
  forget(): void {
    this.given.clear();
  }
}

/** Complete rows of a world. Equal content gives equal numbers: two worlds share what they have in common. */
export function compile(world: World, numbers: Numbers): DatapathRows {
  const policies = new Map<number, PolicyRow>();
  const verdicts: VerdictRow[] = [];
  const identityClasses = new Map<string, IdentityClassRow>();
  const addressClasses = new Map<string, AddressClassRow>();
  const used = new Set(world.endpoints.flatMap((resident) => resident?.subject ?? []));

  const direction = (id: number, name: 'ingress' | 'egress', content: DirectionContent): PolicyDirectionRow => {
    const labels = [...new Set(content.rules.flatMap((rule) => rule.label ?? []))].sort();
    const prefixes = [...new Set(content.rules.flatMap((rule) => rule.prefix ?? []))].sort();
    const selectorSet = labels.length === 0 ? 0 : numbers.of(`labels ${labels}`);
    const addressSet = prefixes.length === 0 ? 0 : numbers.of(`prefixes ${prefixes}`);
    const classes = new Map<number, (rule: Rule) => boolean>();
    if (selectorSet !== 0) {
      for (const [i, bits] of world.identities.entries()) {
        const matched = labels.filter((label) => bits !== undefined && (bits & (1 << label)) !== 0);
        if (matched.length === 0) continue;
        const classId = numbers.of(`class ${selectorSet} ${matched}`);
        identityClasses.set(`${selectorSet}/${i}`, { set: selectorSet, identity: 256 + i, classId });
        classes.set(classId, (rule) => rule.label !== undefined && matched.includes(rule.label));
      }
    }
    for (const at of addressSet === 0 ? [] : prefixes) {
      const prefix = PREFIXES[at] as Prefix;
      const matched = prefixes.filter((other) => prefixContains(PREFIXES[other] as Prefix, prefix));
      const classId = numbers.of(`class ${addressSet} ${matched}`);
      // Outside and pods see different classes, so that a mix-up shows.
      addressClasses.set(`${addressSet}/${prefix}`, { set: addressSet, prefix, outside: classId, node: 0, pod: 0 });
      classes.set(classId, (rule) => rule.prefix !== undefined && matched.includes(rule.prefix));
    }
    classes.set(0, (rule) => rule.label === undefined && rule.prefix === undefined);
    let hasAny = false;
    for (const [classId, matches] of classes) {
      for (const port of [undefined, ...PORTS]) {
        const rules = content.rules.filter((rule) => matches(rule) && (rule.port === undefined || rule.port === port));
        if (rules.length === 0) continue;
        if (classId === 0) hasAny = true;
        const deny = rules.some((rule) => rule.deny);
        const normal = { action: deny ? 'deny' : 'allow', precedence: deny ? 2 : 1, rule: 1 } as const;
        const tiers: TierVerdicts = [undefined, normal, undefined];
        const key = { policy: id, classId, direction: name, protocol: port === undefined ? undefined : TCP };
        verdicts.push({
          ...key,
          port: port ?? 0,
          portBits: port === undefined ? 0 : 16,
          enforced: tiers,
          audited: tiers,
        });
      }
    }
    const hasDeny = content.rules.some((rule) => rule.deny);
    return {
      isolated: content.isolated,
      auditIsolated: content.isolated,
      hasDeny,
      hasAudit: false,
      hasAny,
      keepsEstablished: false,
      selectorSet,
      addressSet,
    };
  };

  const policyOf = world.subjects.map((content, subject) => {
    if (!used.has(subject)) return 0;
    const id = numbers.of(`policy ${subject} ${JSON.stringify(content)}`);
    const row = {
      id,
      revision: 1,
      ingress: direction(id, 'ingress', content[0]),
      egress: direction(id, 'egress', content[1]),
    };
    policies.set(id, row);
    return id;
  });

  const endpoints = world.endpoints.flatMap((resident, i): EndpointRow[] => {
    if (!resident) return [];
    const { subject, identity } = resident;
    return [
      { id: i + 1, identity: 256 + identity, policy: policyOf[subject] ?? 0, mac: '0a:00:00:00:00:01', addresses: [] },
    ];
  });
  const peers = world.peers.flatMap((identity, i): PeerRow[] =>
    identity === undefined || world.identities[identity] === undefined
      ? []
      : [{ address: ADDRESSES[i] as Address, identity: 256 + identity, endpoint: 0, kind: 'pod' }],
  );
  return {
    policy: {
      policies: [...policies.values()],
      verdicts,
      identityClasses: [...identityClasses.values()],
      addressClasses: [...addressClasses.values()],
      identities: world.identities.flatMap((bits, i) => (bits === undefined ? [] : [256 + i])),
      subjects: [],
    },
    endpoints,
    peers,
    ranges: [],
  };
}

/** What a subject's direction says of a peer, read off the rules: the oracle the tables are compared with. */
export function decide(
  content: DirectionContent,
  peer: { readonly labels: number; readonly outside: boolean; readonly address: Address | undefined },
  port: number,
): 'allow' | 'deny' {
  const matching = content.rules.filter((rule) => {
    if (rule.port !== undefined && rule.port !== port) return false;
    if (rule.label !== undefined) return (peer.labels & (1 << rule.label)) !== 0;
    return (
      rule.prefix === undefined ||
      (peer.outside && peer.address !== undefined && prefixContains(PREFIXES[rule.prefix] as Prefix, peer.address))
    );
  });
  if (matching.some((rule) => rule.deny)) return 'deny';
  return matching.length > 0 || !content.isolated ? 'allow' : 'deny';
}
