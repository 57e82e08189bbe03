/** Kubernetes NetworkPolicy, from the comments of networking/v1/types.go. */
import { insideExcept } from './address.ts';
import { type Case, type Effect, type Match, NO_EFFECT } from './effect.ts';
import { matchesNamed, matchesRange } from './ports.ts';
import type { RawDocument } from './scenario.ts';
import { matchesKubernetes, type RawSelector } from './selector.ts';

interface RawPeer {
  readonly podSelector?: RawSelector;
  readonly namespaceSelector?: RawSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
interface RawPort {
  readonly protocol?: string;
  readonly port?: number | string;
  readonly endPort?: number;
}
interface RawRule {
  readonly from?: readonly RawPeer[];
  readonly to?: readonly RawPeer[];
  readonly ports?: readonly RawPort[];
}
interface RawSpec {
  readonly podSelector?: RawSelector;
  readonly policyTypes?: readonly string[];
  readonly ingress?: readonly RawRule[];
  readonly egress?: readonly RawRule[];
}

export function networkPolicyEffect(document: RawDocument, asked: Case): Effect {
  const spec = document.spec as RawSpec;
  const { subject, packet } = asked;
  const { direction } = packet;
  if (document.metadata.namespace !== subject.namespace) return NO_EFFECT;
  if (!matchesKubernetes(spec.podSelector ?? {}, subject.labels)) return NO_EFFECT;
  const types = spec.policyTypes?.length ? spec.policyTypes : ['Ingress', ...(spec.egress?.length ? ['Egress'] : [])];
  if (!types.includes(direction === 'ingress' ? 'Ingress' : 'Egress')) return NO_EFFECT;
  const matches: Match[] = [];
  for (const [i, rule] of (spec[direction] ?? []).entries()) {
    const peers = (direction === 'ingress' ? rule.from : rule.to) ?? [];
    const who = peers.length === 0 || peers.some((peer) => matchesPeer(peer, document, rule, asked));
    const what = !rule.ports?.length || rule.ports.some((port) => matchesPort(port, asked));
    if (who && what) matches.push({ tier: 'normal', order: 0, action: 'allow', rule: `spec.${direction}[${i}]` });
  }
  return { isolates: true, matches };
}

function matchesPeer(
  { podSelector, namespaceSelector, ipBlock }: RawPeer,
  document: RawDocument,
  rule: RawRule,
  asked: Case,
): boolean {
  const { peer, scenario } = asked;
  if (ipBlock) {
    // A block of addresses has no port names; a rule that gives only names says nothing about it.
    return insideExcept(peer.address, ipBlock.cidr, ipBlock.except ?? []) && blockMatchesPort(rule, asked);
  }
  const { pod } = peer;
  if (!pod) return false;
  const namespace = scenario.namespaces.find(({ name }) => name === pod.namespace);
  const where = namespaceSelector
    ? matchesKubernetes(namespaceSelector, namespace?.labels ?? {})
    : pod.namespace === document.metadata.namespace;
  return where && matchesKubernetes(podSelector ?? {}, pod.labels);
}

function blockMatchesPort({ ports }: RawRule, asked: Case): boolean {
  if (asked.packet.direction === 'ingress' || !ports?.length) return true;
  return ports.filter(({ port }) => typeof port !== 'string').some((port) => matchesPort(port, asked));
}

function matchesPort({ protocol = 'TCP', port, endPort }: RawPort, asked: Case): boolean {
  if (typeof port === 'string') return matchesNamed(port, [protocol], asked);
  if (port === undefined) return matchesRange([protocol], 0, 65535, asked);
  return matchesRange([protocol], port, endPort ?? port, asked);
}
