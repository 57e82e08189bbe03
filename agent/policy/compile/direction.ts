/**
 * One direction of one policy: which selectors and CIDRs its rules name, and what the rules say about whoever matches
 * them. Also flattens one class when asked: classes come and go with identities, the rules stay.
 */
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { NamedPort } from '../../model/object.ts';
import type { Direction, TierVerdict } from '../../model/verdict.ts';
import { type Cidr, type PolicyRule, PROTOCOL } from '../rule.ts';
import { cidrKey } from '../select/address-sets.ts';
import {
  type Cluster,
  groupPrefixes,
  nodePrefixes,
  SERVICE_KINDS,
  servicePods,
  servicePrefixes,
} from '../select/cluster.ts';
import { type Selector, selector } from '../select/selector.ts';
import type { Steps } from '../steps.ts';
import { type FlatEntry, flatten, type PortRange, type Term } from './flatten.ts';
import { precedences } from './precedence.ts';

/** A rule that counts at present for one policy. */
export interface ActiveRule {
  readonly rule: PolicyRule;
  readonly audit: boolean;
}

export interface DirectionPlan {
  /** Sorted by key, distinct. */
  readonly selectors: readonly Selector[];
  /** Port names that must be resolved on the peer; empty for ingress. */
  readonly names: readonly string[];
  readonly cidrs: readonly Cidr[];
  readonly hasDeny: boolean;
  readonly hasAudit: boolean;
  /** Equal for plans with equal rules: then nothing needs to be written. */
  readonly key: string;
  anyEntries(): FlatEntry[];
  /** `matches`: indexes into `selectors`; `named`: what the port names mean for the peers of the class. */
  identityEntries(matches: readonly number[], named: readonly NamedPort[]): FlatEntry[];
  /** `matches`: indexes into `cidrs`. */
  addressEntries(matches: readonly number[]): FlatEntry[];
}

/** A term whose egress port names wait for the peer. */
interface OpenTerm extends Term {
  readonly named: readonly { readonly name: string; readonly protocols: readonly number[] }[];
}

/** Stands for "any peer" where a port name makes the peer matter: only pods have port names. */
const EVERY_POD = selector([{ operator: 'Exists', key: NAMESPACE_LABEL }]);

export function* planDirection(
  direction: Direction,
  rules: readonly ActiveRule[],
  subjectPorts: readonly NamedPort[],
  cluster: Cluster,
): Steps<DirectionPlan> {
  const precedence = precedences(rules.map(({ rule }) => rule));
  const any: OpenTerm[] = [];
  const bySelector = new Map<string, { item: Selector; terms: OpenTerm[] }>();
  const byCidr = new Map<string, { item: Cidr; terms: OpenTerm[] }>();
  const names = new Set<string>();
  const keys: string[] = [];

  for (const active of rules) {
    const term = openTerm(active, precedence.get(active.rule) ?? 0, direction, subjectPorts);
    const peers = resolvePeers(active.rule, cluster);
    keys.push(termKey(active, term, peers));
    const waits = term.named.length > 0;
    if (peers.any) {
      any.push(term);
      if (waits) put(bySelector, EVERY_POD.key, EVERY_POD, { ...term, ports: [] });
    }
    for (const item of peers.selectors) put(bySelector, item.key, item, term);
    for (const item of peers.cidrs) put(byCidr, cidrKey(item), item, term);
    if (waits && (peers.any || peers.selectors.length > 0)) for (const { name } of term.named) names.add(name);
    yield;
  }
  const selectors = sorted(bySelector);
  const cidrs = sorted(byCidr);
  return {
    selectors: selectors.map(({ item }) => item),
    names: [...names].sort(),
    cidrs: cidrs.map(({ item }) => item),
    hasDeny: rules.some(({ rule, audit }) => rule.action === 'deny' && !audit),
    hasAudit: rules.some(({ audit }) => audit),
    key: keys.join('\n'),
    anyEntries: () => flatten(any),
    identityEntries(matches, named) {
      const terms = matches.flatMap((i) => selectors[i]?.terms ?? []).map((term) => close(term, named));
      return flatten(terms);
    },
    addressEntries: (matches) => flatten(matches.flatMap((i) => cidrs[i]?.terms ?? [])),
  };
}

function put<Item>(
  into: Map<string, { item: Item; terms: OpenTerm[] }>,
  key: string,
  item: Item,
  term: OpenTerm,
): void {
  const entry = into.get(key);
  if (entry) entry.terms.push(term);
  else into.set(key, { item, terms: [term] });
}

function sorted<Item>(entries: Map<string, { item: Item; terms: OpenTerm[] }>): { item: Item; terms: OpenTerm[] }[] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}

function openTerm(
  { rule, audit }: ActiveRule,
  precedence: number,
  direction: Direction,
  subjectPorts: readonly NamedPort[],
): OpenTerm {
  const verdict: TierVerdict = { action: rule.action, precedence, rule: rule.id, ...(rule.keep && { keep: true }) };
  const ports: PortRange[] | undefined = rule.ports?.filter((port) => port.type === 'range');
  const named = rule.ports?.filter((port) => port.type === 'named') ?? [];
  const open = { tier: rule.tier, verdict, audit, ports, named };
  // On ingress the subject itself has the port; a name it does not have matches nothing (B7, case 15).
  return direction === 'ingress' ? { ...close(open, subjectPorts), named: [] } : open;
}

/** The term with its port names replaced by what they mean on the pods with these ports. */
function close(term: OpenTerm, ports: readonly NamedPort[]): Term {
  if (term.named.length === 0) return term;
  const resolved = term.named.flatMap(({ name, protocols }) =>
    ports
      .filter((port) => port.name === name && protocols.includes(PROTOCOL[port.protocol]))
      .map(({ protocol, port }) => ({ protocol: PROTOCOL[protocol], first: port, last: port })),
  );
  return { ...term, ports: [...(term.ports ?? []), ...resolved] };
}

interface ResolvedPeers {
  readonly any: boolean;
  readonly selectors: readonly Selector[];
  readonly cidrs: readonly Cidr[];
}

function resolvePeers(rule: PolicyRule, cluster: Cluster): ResolvedPeers {
  const selectors = new Map<string, Selector>();
  const cidrs = new Map<string, Cidr>();
  const addCidr = (cidr: Cidr): unknown => cidrs.set(cidrKey(cidr), cidr);
  let any = false;
  for (const peer of rule.peers) {
    switch (peer.type) {
      case 'any':
        any = true;
        break;
      case 'selector':
        selectors.set(peer.selector.key, peer.selector);
        break;
      case 'cidr':
        addCidr(peer.cidr);
        break;
      case 'group':
        for (const prefix of groupPrefixes(peer.group, cluster)) addCidr({ prefix, except: [], kinds: peer.kinds });
        break;
      case 'nodes':
        for (const prefix of nodePrefixes(peer.selector, cluster)) addCidr({ prefix, except: [], kinds: ['node'] });
        break;
      case 'services':
        for (const pods of servicePods(peer.services, cluster)) selectors.set(pods.key, pods);
        for (const prefix of servicePrefixes(peer.services, cluster))
          addCidr({ prefix, except: [], kinds: SERVICE_KINDS });
    }
  }
  return { any, selectors: [...selectors.values()], cidrs: [...cidrs.values()] };
}

function termKey({ rule, audit }: ActiveRule, term: OpenTerm, peers: ResolvedPeers): string {
  const who = [peers.any, peers.selectors.map(({ key }) => key), peers.cidrs.map(cidrKey)];
  const { precedence } = term.verdict;
  const ports = term.ports ?? 'all';
  return JSON.stringify([rule.id, rule.action, rule.keep, rule.tier, precedence, audit, who, ports, term.named]);
}
