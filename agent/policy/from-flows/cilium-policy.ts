/** What was seen as CiliumNetworkPolicies: one for each label set. */
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { Target } from '../workbench/port.ts';
import type { Written } from './generate.ts';
import { policyNames } from './name.ts';
import type { Direction, Evidence, PeerPorts, Seen } from './seen.ts';
import { type SeenPeer, type Selector, selectorOf, type Workload } from './workload.ts';

export interface CiliumPolicy {
  readonly apiVersion: 'cilium.io/v2';
  readonly kind: 'CiliumNetworkPolicy';
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly endpointSelector: Selector;
    readonly ingress: readonly Rule[];
    readonly egress: readonly Rule[];
  };
}

interface Rule {
  readonly fromEndpoints?: readonly Selector[];
  readonly toEndpoints?: readonly Selector[];
  readonly fromEntities?: readonly string[];
  readonly toEntities?: readonly string[];
  readonly fromCIDR?: readonly string[];
  readonly toCIDR?: readonly string[];
  readonly toPorts?: readonly { readonly ports: readonly { readonly port: string; readonly protocol: string }[] }[];
  readonly icmps?: readonly { readonly fields: readonly { readonly family: string; readonly type: number }[] }[];
}

/** It can say all that has a name. */
export function ciliumPolicies({ subjects, known }: Seen): Written<CiliumPolicy> {
  const nameOf = policyNames();
  const policies = subjects.map(({ workload, ...directions }) => {
    const ingress = rulesOf(directions.ingress, 'ingress', known);
    const egress = rulesOf(directions.egress, 'egress', known);
    const policy: CiliumPolicy = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      metadata: { name: nameOf(workload), namespace: workload.namespace },
      // a rule that names nobody allows nothing, and isolates
      spec: {
        endpointSelector: selectorOf(workload, known),
        ingress: ingress.length > 0 ? ingress.map(({ rule }) => rule) : [{}],
        egress: egress.length > 0 ? egress.map(({ rule }) => rule) : [{}],
      },
    };
    const evidence = (rules: typeof ingress) => rules.map((one) => one.evidence);
    return { policy, ingress: evidence(ingress), egress: evidence(egress) };
  });
  return { policies, unsaid: [] };
}

/** Peers of one kind with the same ports share a rule; ICMP types stand in rules of their own. */
function rulesOf(peers: ReadonlyMap<string, PeerPorts>, direction: Direction, known: readonly Workload[]) {
  const groups = new Map<
    string,
    { readonly peers: SeenPeer[]; readonly targets: Target[]; readonly evidence: Evidence[] }
  >();
  for (const { peer, targets } of peers.values()) {
    const [icmp, ports] = [[...targets.values()].filter(isIcmp), [...targets.values()].filter((one) => !isIcmp(one))];
    for (const some of [ports, icmp]) {
      if (some.length === 0) continue;
      const wanted = some.map(({ target }) => target).sort(byTarget);
      const key = JSON.stringify([peer.kind, wanted]);
      const group = groups.get(key) ?? { peers: [], targets: wanted, evidence: [] };
      groups.set(key, group);
      group.peers.push(peer);
      group.evidence.push(...some);
    }
  }
  return [...groups.values()].map(({ peers: those, targets, evidence }) => ({
    rule: { ...peersField(those, direction, known), ...targetsField(targets) } satisfies Rule,
    evidence,
  }));
}

export function isIcmp({ target }: Evidence): boolean {
  return target.protocol.startsWith('ICMP');
}

export function byTarget(a: Target, b: Target): number {
  return a.protocol === b.protocol ? a.number - b.number : a.protocol < b.protocol ? -1 : 1;
}

function peersField(peers: readonly SeenPeer[], direction: Direction, known: readonly Workload[]): Rule {
  const way = direction === 'ingress' ? 'from' : 'to';
  const selectors = peers.flatMap((peer) => (peer.kind === 'workload' ? [peerSelector(peer.workload, known)] : []));
  if (selectors.length > 0) return { [`${way}Endpoints`]: selectors };
  const names = peers.flatMap((peer) => (peer.kind === 'entity' ? [peer.entity] : []));
  if (names.length > 0) return { [`${way}Entities`]: names.sort() };
  return { [`${way}CIDR`]: peers.flatMap((peer) => (peer.kind === 'address' ? [peer.cidr] : [])).sort() };
}

function peerSelector(workload: Workload, known: readonly Workload[]): Selector {
  const { matchLabels, ...rest } = selectorOf(workload, known);
  return { matchLabels: { ...matchLabels, [NAMESPACE_LABEL]: workload.namespace }, ...rest };
}

function targetsField(targets: readonly Target[]): Rule {
  if (targets[0]?.protocol.startsWith('ICMP')) {
    const fields = targets.map(({ protocol, number }) => ({
      family: protocol === 'ICMPv4' ? 'IPv4' : 'IPv6',
      type: number,
    }));
    return { icmps: [{ fields }] };
  }
  return { toPorts: [{ ports: targets.map(({ protocol, number }) => ({ port: String(number), protocol })) }] };
}
