/** ClusterNetworkPolicy and its v1alpha1 forerunners, from the comments of network-policy-api's types. */
import { inside } from './address.ts';
import { type Case, type Effect, type Match, NO_EFFECT } from './effect.ts';
import { matchesNamed, matchesRange } from './ports.ts';
import type { PodSpec, RawDocument, Scenario } from './scenario.ts';
import { matchesKubernetes, type RawSelector } from './selector.ts';

interface RawPods {
  readonly namespaceSelector?: RawSelector;
  readonly podSelector: RawSelector;
}
interface RawPeer {
  readonly namespaces?: RawSelector;
  readonly pods?: RawPods;
  readonly nodes?: RawSelector;
  readonly networks?: readonly string[];
}
interface RawPortNumber {
  readonly number?: number;
  readonly range?: { readonly start: number; readonly end: number };
}
interface RawRule {
  readonly action: 'Accept' | 'Allow' | 'Deny' | 'Pass';
  readonly from?: readonly RawPeer[];
  readonly to?: readonly RawPeer[];
  readonly protocols?: readonly { readonly [name: string]: { readonly destinationPort: RawPortNumber } | string }[];
  readonly ports?: readonly {
    readonly portNumber?: { readonly protocol?: string; readonly port: number };
    readonly portRange?: { readonly protocol?: string; readonly start: number; readonly end: number };
    readonly namedPort?: string;
  }[];
}
interface RawSpec {
  readonly tier?: string;
  readonly priority?: number;
  readonly subject: RawPeer;
  readonly ingress?: readonly RawRule[];
  readonly egress?: readonly RawRule[];
}

const ACTIONS = { Accept: 'allow', Allow: 'allow', Deny: 'deny', Pass: 'pass' } as const;
const WITH_PORTS = ['TCP', 'UDP', 'SCTP'];

export function clusterPolicyEffect(document: RawDocument, asked: Case): Effect {
  const spec = document.spec as RawSpec;
  const { direction } = asked.packet;
  if (!selectsPod(spec.subject, asked.subject, asked.scenario)) return NO_EFFECT;
  const admin = document.kind === 'AdminNetworkPolicy' || spec.tier === 'Admin';
  const matches: Match[] = [];
  for (const [i, rule] of (spec[direction] ?? []).entries()) {
    const peers = (direction === 'ingress' ? rule.from : rule.to) ?? [];
    if (!peers.some((peer) => matchesPeer(peer, asked)) || !matchesPorts(rule, asked)) continue;
    const order = (spec.priority ?? 0) * 1_000_000 + i;
    matches.push({
      tier: admin ? 'admin' : 'baseline',
      order,
      action: ACTIONS[rule.action],
      rule: `spec.${direction}[${i}]`,
    });
  }
  return { isolates: false, matches };
}

function selectsPod({ namespaces, pods }: RawPeer, pod: PodSpec, scenario: Scenario): boolean {
  const labels = scenario.namespaces.find(({ name }) => name === pod.namespace)?.labels ?? {};
  if (namespaces) return matchesKubernetes(namespaces, labels);
  return (
    pods !== undefined &&
    matchesKubernetes(pods.namespaceSelector ?? {}, labels) &&
    matchesKubernetes(pods.podSelector, pod.labels)
  );
}

function matchesPeer(raw: RawPeer, { peer, scenario }: Case): boolean {
  if (raw.networks) return raw.networks.some((cidr) => inside(peer.address, cidr));
  if (raw.nodes) {
    const node = scenario.nodes.find(({ name }) => name === peer.node);
    return node !== undefined && matchesKubernetes(raw.nodes, node.labels);
  }
  return peer.pod !== undefined && selectsPod(raw, peer.pod, scenario);
}

function matchesPorts({ protocols, ports }: RawRule, asked: Case): boolean {
  if (protocols) {
    return protocols.some((entry) => {
      const [name = '', value] = Object.entries(entry)[0] ?? [];
      if (typeof value === 'string') return matchesNamed(value, WITH_PORTS, asked);
      const { number, range } = value?.destinationPort ?? {};
      return matchesRange(
        [name.toUpperCase()],
        range?.start ?? (number as number),
        range?.end ?? (number as number),
        asked,
      );
    });
  }
  if (!ports?.length) return true;
  return ports.some(({ portNumber, portRange, namedPort }) => {
    if (namedPort !== undefined) return matchesNamed(namedPort, WITH_PORTS, asked);
    const { protocol = 'TCP' } = portNumber ?? portRange ?? {};
    return matchesRange(
      [protocol],
      portRange?.start ?? (portNumber?.port as number),
      portRange?.end ?? (portNumber?.port as number),
      asked,
    );
  });
}
